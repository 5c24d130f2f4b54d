"""Wrong versions of the package that its tests must reject.  Run: python tests/mutants.py [module].

A mutant is (module, right, wrong, test): one place in src/zerocam/MODULE.py, what to write there
instead, and the test that must reject it, of tests/test_MODULE.py or "file::test".  Each new law
adds one.  The test must run and fail, without the help of the shape checks, which take longer than
most tests.  The working tree is never touched: a mutant lives in a copy of the package.
"""

import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "zerocam"
LIMIT = 600  # seconds without a verdict: a test hangs, or its process has died

MUTANTS = [
    ("ledger", "if not condition:", "if condition is None:",
     "test_check_refuses_a_false_condition"),
    ("ledger", "if value not in found", "if name not in found",
     "test_a_printed_line_names_its_values"),
    ("ledger", 'sub(" ", piece) for piece', 'sub(piece, piece) for piece',
     "test_bare_decimals_are_found_in_prose_only"),
    ("ledger", 'done.replace("−", "-")', "done", "test_a_typographic_minus_is_a_minus"),
    ("ledger", r"(?<![\w.]){re", "{re", "test_a_number_that_differs_is_reported_and_filled"),
    ("ledger", "if write else wrong", "if not write else wrong",
     "test_write_fills_notebook_and_page_and_nothing_else"),
    ("ledger", "everywhere | chapter.printed", "everywhere",
     "test_a_book_that_agrees_has_no_problems"),
    ("ledger", "if claim not in registry", "if claim in registry",
     "test_a_book_that_agrees_has_no_problems"),
    ("ledger", 'c.number == entry["chapter"] for c', "True for c",
     "test_a_check_in_another_chapter_does_not_count"),
    ("ledger", '(claim in guarded) == ("unguarded" in entry)', "False",
     "test_claims_that_do_not_fit_are_reported"),
    ("symmetries", "self.matrix.to(A).T", "self.matrix.to(A)", "test_two_channels_worked_by_hand"),
    ("symmetries", "+ self.shift.to(A)", "", "test_two_channels_worked_by_hand"),
    ("symmetries", "self.inverse().matrix.T", "self.inverse().matrix",
     "test_two_channels_worked_by_hand"),
    ("symmetries", "torch.zeros_like(self.shift)", "self.shift",
     "test_two_channels_worked_by_hand"),
    ("symmetries", "-inverse @ self.shift", "-self.shift", "test_two_channels_worked_by_hand"),
    ("symmetries", "                inverse = inverse.round()", "                pass",
     "test_affine_changes_form_a_group"),
    ("symmetries", " and torch.equal(inverse.round() @ M, eye):", ":",
     "test_two_channels_worked_by_hand"),
    ("symmetries", "0, 1 / M).T, False", "0, 1 / M), False", "test_affine_changes_form_a_group"),
    ("symmetries", "residual = (inverse.T * M).sum(0) - 1", "residual = 0 * eye", "test_refusals"),
    ("symmetries", "(used.sum(1) == 1).all()", "True", "test_two_channels_worked_by_hand"),
    ("symmetries", "self.matrix @ other.shift + self.shift", "other.shift + self.shift",
     "test_affine_changes_form_a_group"),
    ("symmetries", "torch.eye(len(order))[order]", "torch.eye(len(order))[order].T",
     "test_the_constructors_worked_by_hand"),
    ("symmetries", "W + self.v.to(W)", "W - self.v.to(W)", "test_a_softmax_shift_worked_by_hand"),
    ("symmetries", "SoftmaxShift(-self.v, -self.beta)", "SoftmaxShift(-self.v, self.beta)",
     "test_softmax_shifts_form_a_commutative_group"),
    ("symmetries", "self.beta + other.beta", "self.beta",
     "test_softmax_shifts_form_a_commutative_group"),
    ("symmetries", "t = size * torch", "t = torch", "test_random_shifts_have_the_size_asked_for"),
    ("symmetries", "M = (Q * stretch) @ R", "M = (Q * stretch**9) @ R",
     "test_random_symmetries_are_reproducible_and_well_conditioned"),
    ("symmetries",
     "changed = copy.deepcopy(model, {id(v): v.detach() for v in kept if not v.is_leaf})",
     "changed = model",
     "test_a_softmax_shift_adds_one_field_to_every_class_map"),
    ("symmetries", "changed.eval()\n", "changed\n",
     "test_the_original_is_not_touched_also_on_failure"),
    ("symmetries", "modes.get(module, model.training)", "False",
     "test_the_original_is_not_touched_also_on_failure"),
    ("symmetries", "    return y.softmax(1) if", "    return 0 * y + 1 if",
     "test_a_softmax_shift_of_a_layer_that_is_not_the_head_is_refused"),
    ("symmetries", '_refuse("random activations"', 'id; ("random activations"',
     "test_moved_predictions_are_refused_with_the_measured_difference"),
    ("symmetries", "if c is original]", "if c is original][:1]",
     "test_a_layer_registered_twice_is_changed_in_both_places"),
    ("symmetries", "_Change(undo, channel_dim)", "_Change(undo, None)",
     "test_channel_dim_decides_where_the_shape_does_not"),
    ("symmetries", "positive = T.monotone and not T.shift.any()", "positive = T.monotone",
     "test_nothing_else_folds_through_a_relu"),
    ("symmetries", "MONOTONE: T.monotone, ", "MONOTONE: True, ",
     "test_a_shift_folds_through_max_pooling_but_a_sign_flip_does_not"),
    ("symmetries", ".get(reason, False):", ".get(reason, True):",
     "test_folding_refuses_what_it_does_not_know"),
    ("symmetries", "if list(node.users) != [reader] or", "if",
     "test_folding_refuses_what_it_does_not_know"),
    ("symmetries", "_recode_input(consumer, T.inverse())", "_recode_input(consumer, T)",
     "test_folding_into_the_weights_is_the_inserted_form_without_the_detour"),
    ("symmetries", '_refuse("its border", border, A, tolerance)', "pass",
     "test_a_shift_before_zero_padding_is_wrong_at_the_border_by_the_padding_not_shifted"),
    ("symmetries", "M @ m.bias + t)", "M @ m.bias)",
     "test_folding_into_the_weights_is_the_inserted_form_without_the_detour"),
    ("symmetries", "grad = m.weight.requires_grad", "grad = True",
     "test_parameters_stay_trainable_and_tied_weights_are_untied"),
    ("symmetries", ' or getattr(m, "groups", 1) > 1', "",
     "test_scales_and_shifts_fold_into_a_grouped_convolution_and_mixings_do_not"),
    ("symmetries", '_refuse("the layer before"', 'id; ("the layer before"',
     "test_a_layer_that_does_more_than_its_weights_say_is_not_folded_into"),
    ("symmetries", ".clamp(min=torch.finfo(before.dtype).tiny)", "",
     "test_predictions_that_are_all_zero_have_not_moved"),
    ("symmetries", "@torch.inference_mode(False)\n", "",
     "test_a_copy_made_in_inference_mode_can_be_explained"),
    ("methods", "return (G * A).sum(1)", "return (G.mean((2, 3), keepdim=True) * A).sum(1)",
     "test_two_channels_worked_by_hand"),
    ("methods", "return (G.relu() * A).sum(1)", "return (G * A).relu().sum(1)",
     "test_two_channels_worked_by_hand"),
    ("methods", "2 + G * A.sum((2, 3), keepdim=True)", "2 + (G * A).sum((2, 3), keepdim=True)",
     "test_two_channels_worked_by_hand"),
    ("methods", "denominator == 0, 0", "denominator == 1e9, 0",
     "test_degenerate_activations_give_zeros_not_nan"),
    ("methods", "share.sum((2, 3))", "share.mean((2, 3))", "test_two_channels_worked_by_hand"),
    ("methods", "(G * A).sum((2, 3)) / total", "(G * A).sum((2, 3)) / (total + 1e-7)",
     "test_loops_give_the_same_map"),
    ("methods", "A.mean(1)", "A.sum(1)", "test_two_channels_worked_by_hand"),
    ("methods", "    if centred:", "    if not centred:", "test_eigen_cam_worked_by_hand"),
    ("methods", "return (M * peak.sign())", "return (M * M.sum(1, keepdim=True).sign())",
     "test_eigen_cam_worked_by_hand"),
    ("methods", "M = size[:, :1] * positions[:, 0]", "M = positions[:, 0]",
     "test_eigen_cam_worked_by_hand"),
    ("methods", '"minmax").to(x.dtype)', '"max").to(x.dtype)', "test_score_cam_worked_by_hand"),
    ("methods", "value.reshape(1, 1, 1, 1) if value.ndim == 0", "value.reshape(1, 1, 1, 1) if 1",
     "test_ablation_cam_worked_by_hand"),
    ("methods", ".softmax(1)\n    M =", "\n    M =", "test_score_cam_worked_by_hand"),
    ("methods", "b + m * (x - b)", "m * x", "test_score_cam_worked_by_hand"),
    ("methods", "scores(x).argmax(1) if target is None else target", "target",
     "test_no_target_means_the_class_predicted_for_the_image_itself"),
    ("methods", "drops.append(whole - score(x))", "drops.append(score(x) - whole)",
     "test_ablation_cam_worked_by_hand"),
    ("methods", "alpha = torch.stack(drops, 1) / whole[:, None]", "alpha = torch.stack(drops, 1)",
     "test_ablation_cam_worked_by_hand"),
    ("methods", "if threading.get_ident() != owner:", "if False:",
     "test_ablation_in_one_thread_does_not_reach_another"),
    ("methods", "if runs - 1 != (call or 0):", "if runs - 1 != 0:",
     "test_tokens_and_repeated_layers_work_as_in_grad_cam"),
    ("methods", "handle.remove()", "pass",
     "test_the_model_comes_back_as_it_was_also_when_it_fails"),
    ("methods", "with torch.no_grad(), _left_as_it_was(model, x):", "with torch.no_grad():",
     "test_the_model_comes_back_as_it_was_also_when_it_fails"),
    ("methods", '"Score-CAM", disable=not progress', '"Score-CAM", disable=False',
     "test_progress_is_shown_on_request_only"),
    ("cam", "axis = 1 if A.ndim > 3 and A.shape[1] == K else -1", "axis = 1",
     "test_methods.py::test_tokens_and_repeated_layers_work_as_in_grad_cam"),
    ("metrics", "(M - low) / spread", "(M - low) / high", "test_normalise_by_hand"),
    ("metrics", "torch.where(high > 0, M /", "torch.where(high != 0, M /",
     "test_a_constant_map_scales_to_zeros"),
    ("metrics", "below + not_above - 1", "2 * below", "test_ties_share_a_rank"),
    ("metrics", "& ~blank(M)", "", "test_a_blank_map_is_a_miss"),
    ("metrics", "positive = M.relu()", "positive = M.abs()", "test_metrics_by_hand"),
    ("metrics", "normalise(M, how) > fraction", "normalise(M, how) >= fraction - 1e-6",
     "test_after_min_max_the_threshold_sinks_among_the_negatives"),
    ("scenes", "labels[which[:, 0]] == labels[which[:, 1]]", "which[:, 0] == which[:, 1]",
     "test_a_scene_is_its_digits_and_nothing_else"),
    ("scenes", ".amax(1) < PATCH", ".amax(1) < PATCH - 6",
     "test_a_scene_is_its_digits_and_nothing_else"),
    ("scenes", "slice(TRAIN, None)", "slice(TRAIN - 1, None)",
     "test_a_digit_is_drawn_twice_as_large"),
    ("scenes", "ink > 0)", "ink > 0.1)", "test_a_scene_is_its_digits_and_nothing_else"),
    ("scenes", "align_corners=False", "align_corners=True", "test_a_digit_is_drawn_twice_as_large"),
    ("training", "1 - len(steps) / (epochs * per_epoch)", "1 - len(steps) / len(x)",
     "test_the_rate_falls_in_a_straight_line"),
    ("training", "generator=order", "", "test_dropout_does_not_change_the_order_of_the_images"),
    ("training", "momentum=momentum, weight_decay", "momentum=0.9, weight_decay",
     "test_two_steps_worked_by_hand"),
    ("training", "torch.set_num_threads(1)\n", "pass\n",
     "test_the_number_of_threads_changes_no_bit"),
    ("training", "torch.default_generator.manual_seed", "torch.manual_seed",
     "test_the_streams_of_other_devices_are_left_alone"),
    ("training", "        model.eval()\n", "",
     "test_the_model_comes_back_in_eval_mode_without_gradients"),
    ("models", "gain = 2 if", "gain = 1 if", "test_initial_weights_have_the_stated_spread"),
    ("models", "generator=g, ", "", "test_the_seed_decides_the_weights_and_nothing_else_does"),
    ("models", "self.weight, self.bias, s, 0, d", "self.weight, None, s, 0, d",
     "test_same_padding_keeps_the_bias_and_the_dilation"),
    ("models", "torch.default_generator.manual_seed", "torch.manual_seed",
     "test_the_streams_of_other_devices_are_left_alone"),
    ("models", "@torch.inference_mode(False)\n", "", "test_inference_mode_changes_no_suggestion"),
    ("models", "right // 2, right - right // 2", "right - right // 2, right // 2",
     "test_same_padding_by_hand"),
    ("models", "(photo * 255 - 127) / 128", "(photo * 255 - 128) / 128",
     "test_the_input_is_zero_at_middle_grey"),
    ("plots", "vmin=-bound, vmax=bound)", "vmin=array.min(), vmax=array.max())",
     "test_limits_are_symmetric_and_shared"),
    ("plots", ".cpu().double()", ".cpu()", "test_a_map_is_drawn_from_any_format"),
    ("plots", "np.clip(np.abs(array) / bound", "np.clip(array / bound",
     "test_the_overlay_is_clear_where_the_map_is_zero"),
    ("photos", "mask[:, size:]", "mask[:, :size]", "test_a_collage_is_its_halves"),
    ("encodings", "scale * torch.eye(classes, dtype=dtype) +", "torch.eye(classes, dtype=dtype) +",
     "test_encodings_by_hand"),
    ("encodings", "scaled(classes, 2, -1", "scaled(classes, 2, 0", "test_encodings_by_hand"),
    ("encodings", "amount / classes, dtype", "amount / (classes - 1), dtype",
     "test_encodings_by_hand"),
    ("encodings", "return T[labels]", "return T.T[labels]", "test_a_code_that_is_not_square"),
    ("encodings", "labels.min() < 0 or ", "", "test_refusals"),
    ("encodings", "T.square().sum(1) / 2", "T.square().sum(1)", "test_a_code_that_is_not_square"),
    ("encodings", ").argmax(1)", ").argmin(1)", "test_decode_by_hand"),
    ("encodings", ".sum(1).mean() / 2", ".mean() / 2", "test_squared_error_by_hand"),
    ("encodings", "if T.min() < 0:", "if T.sum() < 0:", "test_refusals"),
    ("encodings", "if not torch.allclose(T.sum(1)", "if not torch.allclose(T.mean(1)",
     "test_loss_for"),
    ("training", "in last.parameters()", "in [last.weight]",
     "test_encodings.py::test_mirrored_training_keeps_the_features_bit_for_bit"),
    ("training", "twin = copy.deepcopy(model)", "twin = model",
     "test_encodings.py::test_mirrored_training_keeps_the_features_bit_for_bit"),
    ("experiments", "todo = [seed for seed in wanted if seed not in done]", "todo = wanted",
     "test_a_run_cut_short_goes_on_where_it_stopped"),
    ("experiments", "Result(name, {seed: done[seed] for seed in wanted})", "Result(name, done)",
     "test_the_file_says_how_it_was_made"),
    ("experiments", "(1 / n + one_more) ** 0.5", "(1 / n) ** 0.5",
     "test_mean_and_interval_by_hand"),
    ("experiments", "t.ppf(0.975, n - 1)", "t.ppf(0.975, n)", "test_mean_and_interval_by_hand"),
    ("experiments", "round(value, digits) + 0.0", "round(value, digits)",
     "test_a_mean_that_rounds_to_zero_has_no_sign"),
    ("experiments", "| names or {", "or {", "test_mean_and_interval_by_hand"),
    ("experiments", '"abs": M.abs()', '"abs": M.relu()',
     "test_relu_ablation.py::test_seven_maps_by_hand"),
    ("experiments", '"negative": (-M).relu()', '"negative": -M',
     "test_relu_ablation.py::test_seven_maps_by_hand"),
    ("experiments", "(alpha, alpha.abs(), alpha.relu())", "(alpha, alpha.abs(), alpha)",
     "test_relu_ablation.py::test_seven_maps_by_hand"),
    ("experiments", '{"rank": 0.85', '{"rank": 0.15',
     "test_relu_ablation.py::test_cuts_and_neighbourhoods_by_hand"),
    ("experiments", "2 * pixels + 1, 1, pixels)", "2 * pixels - 1, 1, pixels - 1)",
     "test_relu_ablation.py::test_cuts_and_neighbourhoods_by_hand"),
    ("experiments", "signed_map(alpha - shift, A)", "signed_map(alpha + shift, A)",
     "test_relu_ablation.py::test_one_network_trained_again_says_what_the_study_says"),
    ("cam", "return G.mean((-2, -1))", "return G.sum((-2, -1))",
     "test_two_channels_worked_by_hand"),
    ("cam", "return G.mean((-2, -1))", "return G.relu().mean((-2, -1))",
     "test_two_channels_worked_by_hand"),
    ("cam", "return G.mean((-2, -1))", "return G.amax((-2, -1))",
     "test_two_channels_worked_by_hand"),
    ("cam", '"nk,nkij->nij", alpha, A)', '"nk,nkij->nij", alpha, A.relu())',
     "test_two_channels_worked_by_hand"),
    ("cam", '"nk,nkij->nij", alpha, A)', '"nk,nkij->nij", alpha.relu(), A)',
     "test_two_channels_worked_by_hand"),
    ("cam", '"nk,nkij->nij", alpha, A)', '"nk,nkij->nij", alpha, A) / A.shape[1]',
     "test_two_channels_worked_by_hand"),
    ("cam", "    return M.relu() if relu else M", "    return M.abs() if relu else M",
     "test_a_network_worked_by_hand"),
    ("cam", "    return M.relu() if relu else M", "    return M.relu()",
     "test_a_network_worked_by_hand"),
    ("cam", "    return M.relu_() if relu else M", "    return M.relu_()",
     "test_all_classes_at_once_are_the_classes_one_by_one"),
    ("cam", "back(rows[part, None])", "back(rows.flip(0)[part, None])",
     "test_all_classes_at_once_are_the_classes_one_by_one"),
    ("cam", "slice(start, start + chunk)", "slice(start, start + chunk - 1)",
     "test_all_classes_at_once_are_the_classes_one_by_one"),
    ("cam", "held, back = leaf.numel()", "held, back = 1",
     "test_heads.py::test_memory_is_held_for_few_classes_at_a_time"),
    ("cam", "held, back = n * max(", "held, back = min(",
     "test_heads.py::test_memory_is_held_for_few_classes_at_a_time"),
    ("cam", "list(dict.fromkeys(found))", "found[:1]", "test_the_model_is_left_as_it_was"),
    ("heads", "if bool((off <= allowed * expected.abs().amax(1)).all()):", "if True:",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("heads", "amax(1)).all()", "amax(1)).any()",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("heads", "allowed > 1e-4", "False",
     "test_half_precision_proves_nothing_so_it_takes_the_textbook_way"),
    ("heads", "v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), "
     "dtype=torch.float64).to(y)",
     "v = y.detach() * 0\n    v[:, 0] = 1",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("heads", ".unflatten(1, (K, -1)).sum(-1)", ".unflatten(1, (K, -1)).mean(-1)",
     "test_the_short_way_is_taken_where_it_is_right_and_only_there"),
    ("heads", "sorted(steps, key=lambda step: not isinstance(step.module, nn.Linear))", "steps",
     "test_the_short_way_is_taken_where_it_is_right_and_only_there"),
    ("heads", "for step in steps if step.out.node is y.grad_fn]", "for step in steps[-1:]]",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("heads", "len(size) == 2 and ", "", "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("heads", "g.flatten(2) if self.S is None else g @ self.S.to(g)", "g.flatten(2)",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("cam", "autograd.grad(s.sum(), leaf", "autograd.grad(y.sum(), leaf",
     "test_a_network_worked_by_hand"),
    ("cam", "return leaf.clone()", "return leaf",
     "test_in_place_work_after_the_layer_does_not_reach_the_map"),
    ("cam", "            handle.remove()", "            pass", "test_the_model_is_left_as_it_was"),
    ("cam", "call is None and runs > 1", "False",
     "test_a_layer_that_runs_twice_is_refused_or_chosen"),
    ("cam", "runs - 1 != (call or 0)", "runs - 1 != 0",
     "test_a_layer_that_runs_twice_is_refused_or_chosen"),
    ("cam", "tokens[:, skip:]", "tokens[:, : tokens.shape[1] - skip]",
     "test_tokens_are_read_row_by_row_without_the_class_token"),
    ("cam", "transpose(1, 2).unflatten(2, (h, w))", "transpose(1, 2).unflatten(2, (w, h)).mT",
     "test_tokens_are_read_row_by_row_without_the_class_token"),
    ("cam", "A.permute(0, 3, 1, 2)", "A.permute(0, 3, 2, 1)",
     "test_channels_last_output_is_refused_until_it_is_named"),
    ("cam", "(k == h < w or w > 8 * max(k, h))", "False",
     "test_channels_last_output_is_refused_until_it_is_named"),
    ("cam", "A.shape[2] * A.shape[3] <= 1", "False",
     "test_refusals_say_what_got_wanted_and_the_mend"),
    ("cam", "math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())",
     "not bool(torch.isnan(t).all())",
     "test_what_half_precision_cannot_hold_is_refused_and_float32_can"),
    ("cam", "math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())",
     "math.isfinite(t.sum().item())",
     "test_large_numbers_are_finite_even_where_their_sum_is_not"),
    ("cam", "if not weights.any():", "if not M.any():",
     "test_the_reason_is_that_of_the_map_with_its_reference"),
    ("cam", "fired.any() or M.any()", "fired.any()",
     "test_the_reason_is_that_of_the_map_with_its_reference"),
    ("cam", "elif high <= 0 and low < 0:", "elif high < 0:", "test_a_blank_map_has_a_reason"),
    ("cam", '"tiny" if high < tiny', '"tiny" if high > tiny', "test_a_blank_map_has_a_reason"),
    ("cam", "if len(x) == 0:", "if False:", "test_refusals_say_what_got_wanted_and_the_mend"),
    ("targets", "return y.argmax(1)", "return y.argmin(1)", "test_by_hand"),
    ("targets", "_several(y).mean(1)", "_several(y).mean()", "test_by_hand"),
    ("targets", "_pick(y, c) - _pick(y, d)", "_pick(y, d) - _pick(y, c)", "test_by_hand"),
    ("targets", "_several(y).log_softmax(1)", "_several(y).log_softmax(0)", "test_by_hand"),
    ("targets", "return lambda y: -t(y)", "return lambda y: t(-y)", "test_by_hand"),
    ("targets", "if bool((index < 0).any()) or", "if",
     "test_a_class_that_does_not_exist_is_refused"),
    ("targets", "    index = index.long()\n", "", "test_labels_of_any_whole_number_will_do"),
    ("references", ", reshape=reshape, call=call)", ")",
     "test_a_baseline_is_read_where_the_map_is"),
    ("references", "A.mean((-2, -1), keepdim=True)", "A.mean((0, -2, -1), keepdim=True)",
     "test_the_mean_of_a_map_referenced_to_its_mean_is_zero"),
    ("references", "A0.mean((0, 2, 3), keepdim=True)", "A0[:1].mean((0, 2, 3), keepdim=True)",
     "test_by_hand"),
    ("references", "return A.new_zeros(1, 1, 1, 1)", "return A.new_ones(1, 1, 1, 1)",
     "test_by_hand"),
    ("audit", "symmetry, x=self.x)", "symmetry)",
     "test_a_change_that_moves_predictions_is_refused"),
    ("audit", "wrapper.training = False", "wrapper.eval()",
     "test_a_model_in_training_mode_is_left_as_it_was"),
    ("audit", "@torch.inference_mode(False)\n", "", "test_inference_mode_changes_nothing"),
    ("audit", "if names.count(name) > 1]", "if False]", "test_refusals"),
    ("audit", "(high - low <= tolerance).all()", "(high <= tolerance).all()",
     "test_two_maps_compared_by_hand"),
    ("audit", "peak >= after.amax", "peak <= after.amax", "test_two_maps_compared_by_hand"),
    ("audit", 'choices.keys().isdisjoint(("reshape", "call"))', "True",
     "test_a_method_that_chooses_its_own_run_of_the_layer_is_asked_itself"),
    ("audit", "    _in_the_order_of(like, whole)\n", "",
     "test_a_head_of_attention_ends_in_its_classifier"),
    ("audit", "pairs = (part.y, whole.y), (part.G, whole.G)", "pairs = ((part.y, whole.y),)",
     "test_a_head_is_used_only_if_scores_and_gradients_are_the_models"),
    ("symmetries", "self.original(*args, **kwargs)", "self.original(*args)",
     "test_a_layer_may_take_keywords_and_have_its_attributes_read"),
    ("symmetries", 'getattr(super().__getattr__("original"), name)', "None",
     "test_a_layer_may_take_keywords_and_have_its_attributes_read"),
    ("symmetries", "{id(v): v.detach() for v in kept if not v.is_leaf}", "{}",
     "test_audit.py::test_a_model_that_keeps_activations_is_audited_and_keeps_no_tracers"),
    ("cam", "with torch.autocast(A.device.type, enabled=False):", "if True:",
     "test_autocast_does_not_add_up_in_half"),
    ("cam", "d[key] = buffer.copy_(value)", "buffer.copy_(value)",
     "test_a_buffer_that_is_bound_anew_comes_back_too"),
    ("cam", "if need_scores and leaves and isinstance(y, Tensor) and not y.requires_grad:",
     "if False:", "test_a_forward_may_set_autograds_mode_itself"),
    ("methods", "_refuse_bad_scores(y := model(image), len(x))", "y = model(image)",
     "test_scores_of_masked_images_are_checked_like_all_scores"),
    ("audit", "method.keywords | choices", "choices", "test_which_method_keeps_which_symmetry"),
    ("audit", 'drawn["shift"] @ drawn["mixing"]', 'drawn["mixing"]',
     "test_which_method_keeps_which_symmetry"),
    ("audit", "mask_kept(before, after) and mask_kept(after, before)", "mask_kept(before, after)",
     "test_two_maps_compared_by_hand"),
]  # fmt: skip


def test_of(mutant: tuple[str, ...]) -> str:
    """The test that must reject a mutant."""
    return "tests/" + (mutant[3] if "::" in mutant[3] else f"test_{mutant[0]}.py::{mutant[3]}")


def mutate(mutant: tuple[str, ...] | None, folder: str) -> None:
    """Write the package, with the mutant's one change if there is one, into a folder."""
    copy = Path(folder) / "zerocam"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is None:
        return
    module, right, wrong = mutant[:3]
    source = (copy / f"{module}.py").read_text(encoding="utf-8")
    if (n := source.count(right)) != 1:
        raise ValueError(f"{module}.py holds {right!r} {n} times; wanted once: mend the mutant")
    (copy / f"{module}.py").write_text(source.replace(right, wrong), encoding="utf-8")


def passes(trial: tuple) -> bool:
    """Whether tests pass on a mutant, or on a mere copy; for a process that does nothing else."""
    import pytest

    gc.freeze()  # what was imported before the fork stays: no collection looks through it
    mutant, *tests = trial
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        mutate(mutant, folder)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = folder
        # No -x: it can turn a file that cannot be collected, code 2, into a failed test, code 1.
        code = pytest.main(
            ["-q", "--assert=plain", "--tb=native", "-p", "no:cacheprovider", "-p", "no:nbval"]
            + ["--hypothesis-profile=mutants", "-o", "addopts="]  # without the shape checks
            + [str(ROOT / test) for test in tests]
        )
        if code not in (0, 1):  # 1: a test failed, as it should; anything else is our own fault
            log.seek(0)
            raise RuntimeError(f"the tests could not run on {mutant}:\n{log.read().decode()}")
        imported = sys.modules["zerocam"].__file__
        if not imported.startswith(folder):
            raise RuntimeError(f"the tests ran on {imported}, not on the copy")
    return code == 0


def main(modules: list[str]) -> int:
    """Test the clean package and every mutant; 1 if the first fails or one of these survives."""
    os.chdir(ROOT)
    mutants = [m for m in MUTANTS if not modules or m[0] in modules]
    tests = sorted({test_of(m) for m in mutants})
    trials = [(None, *tests), *((m, test_of(m)) for m in mutants)]
    alive = []
    # Each trial has a process of its own, forked from one that has imported torch and the like but
    # has no threads, which macOS allows to those who ask.
    os.environ.setdefault("OBJC_DISABLE_INITIALIZE_FORK_SAFETY", "YES")
    context = multiprocessing.get_context("forkserver")
    heavy = ["torchvision", "captum.attr", "sklearn.datasets", "hypothesis", "pytest"]
    context.set_forkserver_preload(heavy)
    with context.Pool(2, maxtasksperchild=1) as pool:
        verdicts = pool.imap(passes, trials)
        for mutant, *_ in trials:
            try:
                passed = verdicts.next(timeout=LIMIT)
            except multiprocessing.TimeoutError:
                raise RuntimeError(f"no verdict in {LIMIT} s on {mutant}") from None
            if mutant is None and not passed:
                print(f"the clean package must pass first; see: pytest {' '.join(tests)}")
                return 1
            if mutant and passed:
                alive.append(mutant)
    print(f"{len(mutants) - len(alive)} of {len(mutants)} mutants rejected")
    for module, right, wrong, _ in alive:
        print(f"SURVIVES in {module}.py: {right!r} -> {wrong!r}")
    return int(bool(alive) or not mutants)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
