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
    ("lab/ledger", "if not condition:", "if condition is None:",
     "test_check_refuses_a_false_condition"),
    ("lab/ledger", "if value not in found", "if name not in found",
     "test_a_printed_line_names_its_values"),
    ("lab/ledger", 'sub(" ", piece) for piece', 'sub(piece, piece) for piece',
     "test_bare_decimals_are_found_in_prose_only"),
    ("lab/ledger", 'done.replace("−", "-")', "done", "test_a_typographic_minus_is_a_minus"),
    ("lab/ledger", r"(?<![\w.]){re", "{re", "test_a_number_that_differs_is_reported_and_filled"),
    ("lab/ledger", "if write else wrong", "if not write else wrong",
     "test_write_fills_notebook_and_page_and_nothing_else"),
    ("lab/ledger", "everywhere | chapter.printed", "everywhere",
     "test_a_book_that_agrees_has_no_problems"),
    ("lab/ledger", "if claim not in registry", "if claim in registry",
     "test_a_book_that_agrees_has_no_problems"),
    ("lab/ledger", 'c.number == entry["chapter"] for c', "True for c",
     "test_a_check_in_another_chapter_does_not_count"),
    ("lab/ledger", '(claim in guarded) == ("unguarded" in entry)', "False",
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
    ("recode",
     "changed = copy.deepcopy(model, {id(v): v.detach() for v in kept if not v.is_leaf})",
     "changed = model",
     "test_symmetries.py::test_a_softmax_shift_adds_one_field_to_every_class_map"),
    ("recode", "changed.eval()\n", "changed\n",
     "test_symmetries.py::test_the_original_is_not_touched_also_on_failure"),
    ("recode", "modes.get(module, model.training)", "False",
     "test_symmetries.py::test_the_original_is_not_touched_also_on_failure"),
    ("recode", "    return y.softmax(1) if", "    return 0 * y + 1 if",
     "test_symmetries.py::test_a_softmax_shift_of_a_layer_that_is_not_the_head_is_refused"),
    ("recode", '_refuse("random activations"', 'id; ("random activations"',
     "test_symmetries.py::test_moved_predictions_are_refused_with_the_measured_difference"),
    ("recode", "if c is original]", "if c is original][:1]",
     "test_symmetries.py::test_a_layer_registered_twice_is_changed_in_both_places"),
    ("recode", "_Change(undo, channel_dim)", "_Change(undo, None)",
     "test_symmetries.py::test_channel_dim_decides_where_the_shape_does_not"),
    ("recode", "lambda T: T.monotone and not T.shift.any()", "lambda T: T.monotone",
     "test_symmetries.py::test_nothing_else_folds_through_a_relu"),
    ("recode", "lambda T: T.monotone, \"takes", "lambda T: True, \"takes",
     "test_symmetries.py::test_a_shift_folds_through_max_pooling_but_a_sign_flip_does_not"),
    ("recode", "UNKNOWN = Between(lambda T: False", "UNKNOWN = Between(lambda T: True",
     "test_symmetries.py::test_folding_refuses_what_it_does_not_know"),
    ("recode", "list(node.users) == [reader] and ", "",
     "test_symmetries.py::test_folding_refuses_what_it_does_not_know"),
    ("recode", "_recode_input(consumer, T.inverse())", "_recode_input(consumer, T)",
     "test_symmetries.py::test_folding_into_the_weights_is_the_inserted_form_without_the_detour"),
    ("recode", '_moved_too_far("its border", border, A, tolerance)', "None",
     "test_symmetries.py::test_a_shift_before_zero_padding_is_wrong_at_the_border_by_the_padding_not_shifted"),
    ("recode", "M @ m.bias + t)", "M @ m.bias)",
     "test_symmetries.py::test_folding_into_the_weights_is_the_inserted_form_without_the_detour"),
    ("recode", "grad = m.weight.requires_grad", "grad = True",
     "test_symmetries.py::test_parameters_stay_trainable_and_tied_weights_are_untied"),
    ("recode", ' or getattr(m, "groups", 1) > 1', "",
     "test_symmetries.py::test_scales_and_shifts_fold_into_a_grouped_convolution_and_mixings_do_not"),
    ("recode", '_refuse("the layer before"', 'id; ("the layer before"',
     "test_symmetries.py::test_a_layer_that_does_more_than_its_weights_say_is_not_folded_into"),
    ("recode", ".clamp(min=torch.finfo(before.dtype).tiny)", "",
     "test_symmetries.py::test_predictions_that_are_all_zero_have_not_moved"),
    ("recode", "@torch.inference_mode(False)\n", "",
     "test_symmetries.py::test_a_copy_made_in_inference_mode_can_be_explained"),
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
    ("methods", "drops.append(whole - score_of(x))", "drops.append(score_of(x) - whole)",
     "test_ablation_cam_worked_by_hand"),
    ("methods", "alpha = torch.stack(drops, 1) / whole[:, None]", "alpha = torch.stack(drops, 1)",
     "test_ablation_cam_worked_by_hand"),
    ("hooks", "if threading.get_ident() == owner else None", "if True else None",
     "test_methods.py::test_ablation_in_one_thread_does_not_reach_another"),
    ("methods", "if runs - 1 != (call or 0):", "if runs - 1 != 0:",
     "test_tokens_and_repeated_layers_work_as_in_grad_cam"),
    ("hooks", "            handle.remove()", "            pass",
     "test_methods.py::test_the_model_comes_back_as_it_was_also_when_it_fails"),
    ("methods", "with torch.no_grad(), left_as_it_was(model, x):", "with torch.no_grad():",
     "test_the_model_comes_back_as_it_was_also_when_it_fails"),
    ("methods", '"Score-CAM", disable=not progress', '"Score-CAM", disable=False',
     "test_progress_is_shown_on_request_only"),
    ("hooks", "axis = 1 if A.ndim > 3 and A.shape[1] == K else -1", "axis = 1",
     "test_methods.py::test_tokens_and_repeated_layers_work_as_in_grad_cam"),
    ("metrics", "(M - low) / spread", "(M - low) / high", "test_normalise_by_hand"),
    ("metrics", "torch.where(high > 0, M /", "torch.where(high != 0, M /",
     "test_a_constant_map_scales_to_zeros"),
    ("metrics", "below + not_above - 1", "2 * below", "test_ties_share_a_rank"),
    ("metrics", "& ~blank(M)", "", "test_a_blank_map_is_a_miss"),
    ("metrics", "positive = M.relu()", "positive = M.abs()", "test_metrics_by_hand"),
    ("metrics", "normalise(M, how) > fraction", "normalise(M, how) >= fraction - 1e-6",
     "test_after_min_max_the_threshold_sinks_among_the_negatives"),
    ("lab/scenes", "labels[which[:, 0]] == labels[which[:, 1]]", "which[:, 0] == which[:, 1]",
     "test_a_scene_is_its_digits_and_nothing_else"),
    ("lab/scenes", ".amax(1) < PATCH", ".amax(1) < PATCH - 6",
     "test_a_scene_is_its_digits_and_nothing_else"),
    ("lab/scenes", "slice(TRAIN, None)", "slice(TRAIN - 1, None)",
     "test_a_digit_is_drawn_twice_as_large"),
    ("lab/scenes", "ink > 0)", "ink > 0.1)", "test_a_scene_is_its_digits_and_nothing_else"),
    ("lab/scenes", "align_corners=False", "align_corners=True",
     "test_a_digit_is_drawn_twice_as_large"),
    ("lab/training", "1 - len(steps) / (epochs * per_epoch)", "1 - len(steps) / len(x)",
     "test_the_rate_falls_in_a_straight_line"),
    ("lab/training", "generator=order", "", "test_dropout_does_not_change_the_order_of_the_images"),
    ("lab/training", "momentum=momentum, weight_decay", "momentum=0.9, weight_decay",
     "test_two_steps_worked_by_hand"),
    ("lab/training", "torch.set_num_threads(1)\n", "pass\n",
     "test_the_number_of_threads_changes_no_bit"),
    ("lab/training", "torch.default_generator.manual_seed", "torch.manual_seed",
     "test_the_streams_of_other_devices_are_left_alone"),
    ("lab/training", "        model.eval()\n", "",
     "test_the_model_comes_back_in_eval_mode_without_gradients"),
    ("lab/nets", "gain = 2 if", "gain = 1 if",
     "test_models.py::test_initial_weights_have_the_stated_spread"),
    ("lab/nets", "generator=g, ", "",
     "test_models.py::test_the_seed_decides_the_weights_and_nothing_else_does"),
    ("imagenet", "self.weight, self.bias, s, 0, d", "self.weight, None, s, 0, d",
     "test_models.py::test_same_padding_keeps_the_bias_and_the_dilation"),
    ("imagenet", "torch.default_generator.manual_seed", "torch.manual_seed",
     "test_models.py::test_the_streams_of_other_devices_are_left_alone"),
    ("layers", "@torch.inference_mode(False)\n", "",
     "test_models.py::test_inference_mode_changes_no_suggestion"),
    ("imagenet", "right // 2, right - right // 2", "right - right // 2, right // 2",
     "test_models.py::test_same_padding_by_hand"),
    ("imagenet", "(photo * 255 - 127) / 128", "(photo * 255 - 128) / 128",
     "test_models.py::test_the_input_is_zero_at_middle_grey"),
    ("plots", "vmin=-bound, vmax=bound)", "vmin=array.min(), vmax=array.max())",
     "test_limits_are_symmetric_and_shared"),
    ("plots", ".cpu().double()", ".cpu()", "test_a_map_is_drawn_from_any_format"),
    ("plots", "np.clip(np.abs(array) / bound", "np.clip(array / bound",
     "test_the_overlay_is_clear_where_the_map_is_zero"),
    ("lab/pictures", "mask[:, size:]", "mask[:, :size]",
     "test_photos.py::test_a_collage_is_its_halves"),
    ("lab/encodings", "scale * torch.eye(classes, dtype=dtype) +",
     "torch.eye(classes, dtype=dtype) +",
     "test_encodings_by_hand"),
    ("lab/encodings", "scaled(classes, 2, -1", "scaled(classes, 2, 0", "test_encodings_by_hand"),
    ("lab/encodings", "amount / classes, dtype", "amount / (classes - 1), dtype",
     "test_encodings_by_hand"),
    ("lab/encodings", "return T[labels]", "return T.T[labels]", "test_a_code_that_is_not_square"),
    ("lab/encodings", "labels.min() < 0 or ", "", "test_refusals"),
    ("lab/encodings", "T.square().sum(1) / 2", "T.square().sum(1)",
     "test_a_code_that_is_not_square"),
    ("lab/encodings", ").argmax(1)", ").argmin(1)", "test_decode_by_hand"),
    ("lab/encodings", ".sum(1).mean() / 2", ".mean() / 2", "test_squared_error_by_hand"),
    ("lab/encodings", "if T.min() < 0:", "if T.sum() < 0:", "test_refusals"),
    ("lab/encodings", "if not torch.allclose(T.sum(1)", "if not torch.allclose(T.mean(1)",
     "test_loss_for"),
    ("lab/training", "in last.parameters()", "in [last.weight]",
     "test_encodings.py::test_mirrored_training_keeps_the_features_bit_for_bit"),
    ("lab/training", "twin = copy.deepcopy(model)", "twin = model",
     "test_encodings.py::test_mirrored_training_keeps_the_features_bit_for_bit"),
    ("lab/studies", "todo = [seed for seed in wanted if seed not in done]", "todo = wanted",
     "test_a_run_cut_short_goes_on_where_it_stopped"),
    ("lab/studies", "Result(name, {seed: done[seed] for seed in wanted},", "Result(name, done,",
     "test_the_file_says_how_it_was_made"),
    ("lab/studies", "(1 / n + one_more) ** 0.5", "(1 / n) ** 0.5",
     "test_mean_and_interval_by_hand"),
    ("lab/studies", "t.ppf(0.975, n - 1)", "t.ppf(0.975, n)", "test_mean_and_interval_by_hand"),
    ("lab/studies", "min(2 / self.of[key], 0.5)", "0.0",
     "test_a_share_that_never_varies_may_move_by_one_thing_and_not_by_three"),
    ("lab/studies", "min(2 / self.of[key], 0.5)", "3 / self.of[key]",
     "test_a_share_that_never_varies_may_move_by_one_thing_and_not_by_three"),
    ("lab/studies", "min(2 / self.of[key], 0.5)", "2 / self.of[key]",
     "test_of_two_things_one_may_change_and_not_both"),
    ("lab/studies", "t.ppf(1 - chance / 2, n - 1)", "t.ppf(1 - chance, n - 1)",
     "test_the_interval_for_one_more_by_hand"),
    ("lab/studies", "a.std() * (1 + 1 / n) ** 0.5", "a.std()",
     "test_the_interval_for_one_more_by_hand"),
    ("lab/studies", "z.sqrt().asin() if share", "z if share",
     "test_a_share_and_the_share_of_the_others_are_judged_alike"),
    ("lab/studies", "if not share or v.min() == v.max():", "if not share:",
     "test_a_share_that_never_varies_may_move_by_one_thing_and_not_by_three"),
    ("lab/studies", "rule.sf(count - 1)", "rule.sf(count)", "test_a_rare_thing_is_counted_exactly"),
    ("lab/studies", "chance is not None and self.belongs(key, new, chance)",
     "self.belongs(key, new, chance or 1e-7)",
     "test_a_value_of_another_distribution_does_not_belong"),
    ("lab/studies", "for key in stored | again:", "for key in stored:",
     "test_what_else_is_strange"),
    ("lab/studies", "if isinstance(v, Tensor) and not v.is_floating_point()}",
     "if isinstance(v, Tensor)}", "test_yes_and_no_are_counted_and_other_numbers_are_not"),
    ("lab/studies", "round(value, digits) + 0.0", "round(value, digits)",
     "test_a_mean_that_rounds_to_zero_has_no_sign"),
    ("lab/studies", "| names or {", "or {", "test_mean_and_interval_by_hand"),
    ("lab/studies", '"abs": M.abs()', '"abs": M.relu()',
     "test_relu_ablation.py::test_seven_maps_by_hand"),
    ("lab/studies", '"negative": (-M).relu()', '"negative": -M',
     "test_relu_ablation.py::test_seven_maps_by_hand"),
    ("lab/studies", "(alpha, alpha.abs(), alpha.relu())", "(alpha, alpha.abs(), alpha)",
     "test_relu_ablation.py::test_seven_maps_by_hand"),
    ("lab/studies", '{"rank": 0.85', '{"rank": 0.15',
     "test_relu_ablation.py::test_cuts_and_neighbourhoods_by_hand"),
    ("lab/studies", "2 * pixels + 1, 1, pixels)", "2 * pixels - 1, 1, pixels - 1)",
     "test_relu_ablation.py::test_cuts_and_neighbourhoods_by_hand"),
    ("lab/studies", "signed_map(alpha - shift, A)", "signed_map(alpha + shift, A)",
     "test_results.py::test_a_seed_computed_again_belongs_with_the_stored_ones[relu_ablation]"),
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
     "test_shortcuts.py::test_memory_is_held_for_few_classes_at_a_time"),
    ("cam", "held, back = n * max(", "held, back = min(",
     "test_shortcuts.py::test_memory_is_held_for_few_classes_at_a_time"),
    ("hooks", "list(dict.fromkeys(found))", "found[:1]",
     "test_cam.py::test_the_model_is_left_as_it_was"),
    ("shortcuts", "if bool((off <= allowed * expected.abs().amax(1)).all()):", "if True:",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("shortcuts", "amax(1)).all()", "amax(1)).any()",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("shortcuts", "allowed > 1e-4", "False",
     "test_half_precision_proves_nothing_so_it_takes_the_textbook_way"),
    ("shortcuts", "v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), "
     "dtype=torch.float64).to(y)",
     "v = y.detach() * 0\n    v[:, 0] = 1",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("shortcuts", ".unflatten(1, (K, -1)).sum(-1)", ".unflatten(1, (K, -1)).mean(-1)",
     "test_the_short_way_is_taken_where_it_is_right_and_only_there"),
    ("shortcuts", "sorted(steps, key=lambda step: not isinstance(step.module, nn.Linear))", "steps",
     "test_the_short_way_is_taken_where_it_is_right_and_only_there"),
    ("shortcuts", "for step in steps if step.out.node is y.grad_fn]", "for step in steps[-1:]]",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("shortcuts", "len(size) == 2 and ", "",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("shortcuts", "g.flatten(2) if self.S is None else g @ self.S.to(g)", "g.flatten(2)",
     "test_all_classes_are_the_textbook_maps_class_by_class"),
    ("hooks", "autograd.grad(s.sum(), leaf", "autograd.grad(y.sum(), leaf",
     "test_cam.py::test_a_network_worked_by_hand"),
    ("hooks", "return self.leaf.clone()", "return self.leaf",
     "test_cam.py::test_in_place_work_after_the_layer_does_not_reach_the_map"),
    ("hooks", "            handle.remove()", "            pass",
     "test_cam.py::test_the_model_is_left_as_it_was"),
    ("hooks", "self.call is None and self.runs > 1", "False",
     "test_cam.py::test_a_layer_that_runs_twice_is_refused_or_chosen"),
    ("hooks", "self.runs - 1 != (self.call or 0)", "self.runs - 1 != 0",
     "test_cam.py::test_a_layer_that_runs_twice_is_refused_or_chosen"),
    ("hooks", "tokens[:, skip:]", "tokens[:, : tokens.shape[1] - skip]",
     "test_cam.py::test_tokens_are_read_row_by_row_without_the_class_token"),
    ("hooks", "transpose(1, 2).unflatten(2, (h, w))", "transpose(1, 2).unflatten(2, (w, h)).mT",
     "test_cam.py::test_tokens_are_read_row_by_row_without_the_class_token"),
    ("hooks", "A.permute(0, 3, 1, 2)", "A.permute(0, 3, 2, 1)",
     "test_cam.py::test_channels_last_output_is_refused_until_it_is_named"),
    ("hooks", "(k == h < w or w > 8 * max(k, h))", "False",
     "test_cam.py::test_channels_last_output_is_refused_until_it_is_named"),
    ("hooks", "A.shape[2] * A.shape[3] <= 1", "False",
     "test_cam.py::test_refusals_say_what_got_wanted_and_the_mend"),
    ("hooks", "math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())",
     "not bool(torch.isnan(t).all())",
     "test_cam.py::test_what_half_precision_cannot_hold_is_refused_and_float32_can"),
    ("hooks", "math.isfinite(t.sum().item()) or bool(torch.isfinite(t).all())",
     "math.isfinite(t.sum().item())",
     "test_cam.py::test_large_numbers_are_finite_even_where_their_sum_is_not"),
    ("cam", "if not weights.any():", "if not M.any():",
     "test_the_reason_is_that_of_the_map_with_its_reference"),
    ("cam", "fired.any() or M.any()", "fired.any()",
     "test_the_reason_is_that_of_the_map_with_its_reference"),
    ("cam", "elif high <= 0 and low < 0:", "elif high < 0:", "test_a_blank_map_has_a_reason"),
    ("cam", '"tiny" if high < tiny', '"tiny" if high > tiny', "test_a_blank_map_has_a_reason"),
    ("hooks", "if len(x) == 0:", "if False:",
     "test_cam.py::test_refusals_say_what_got_wanted_and_the_mend"),
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
    ("cut", "symmetry, x=self.x)", "symmetry)",
     "test_audits.py::test_a_change_that_moves_predictions_is_refused"),
    ("cut", "wrapper.training = False", "wrapper.eval()",
     "test_audits.py::test_a_model_in_training_mode_is_left_as_it_was"),
    ("audits", "@torch.inference_mode(False)\n", "", "test_inference_mode_changes_nothing"),
    ("audits", "if names.count(name) > 1]", "if False]", "test_refusals"),
    ("audits", "(high - low <= tolerance).all()", "(high <= tolerance).all()",
     "test_two_maps_compared_by_hand"),
    ("audits", "peak >= after.amax", "peak <= after.amax", "test_two_maps_compared_by_hand"),
    ("methods", 'and chosen.keys().isdisjoint(("reshape", "call"))', "",
     "test_audits.py::test_a_method_that_chooses_its_own_run_of_the_layer_is_asked_itself"),
    ("cut", "    _in_the_order_of(like, whole)\n", "",
     "test_audits.py::test_a_head_of_attention_ends_in_its_classifier"),
    ("cut", ', ("gradients", part.G, whole.G)', ",",
     "test_audits.py::test_a_head_is_used_only_if_scores_and_gradients_are_the_models"),
    ("recode", "self.original(*args, **kwargs)", "self.original(*args)",
     "test_symmetries.py::test_a_layer_may_take_keywords_and_have_its_attributes_read"),
    ("recode", 'getattr(super().__getattr__("original"), name)', "None",
     "test_symmetries.py::test_a_layer_may_take_keywords_and_have_its_attributes_read"),
    ("recode", "{id(v): v.detach() for v in kept if not v.is_leaf}", "{}",
     "test_audits.py::test_a_model_that_keeps_activations_is_audited_and_keeps_no_tracers"),
    ("cam", "with torch.autocast(A.device.type, enabled=False):", "if True:",
     "test_autocast_does_not_add_up_in_half"),
    ("hooks", "d[key] = buffer.copy_(value)", "buffer.copy_(value)",
     "test_cam.py::test_a_buffer_that_is_bound_anew_comes_back_too"),
    ("hooks",
     "if scores and cut.leaf is not None and getattr(y, \"requires_grad\", None) is False:",
     "if False:", "test_cam.py::test_a_forward_may_set_autograds_mode_itself"),
    ("methods", "refuse_bad_scores(y := model(image), len(x))", "y = model(image)",
     "test_scores_of_masked_images_are_checked_like_all_scores"),
    ("methods", "inner.keywords | chosen", "chosen",
     "test_audits.py::test_which_method_keeps_which_symmetry"),
    ("audits", 'drawn["shift"] @ drawn["mixing"]', 'drawn["mixing"]',
     "test_which_method_keeps_which_symmetry"),
    ("audits", "mask_kept(before, after) and mask_kept(after, before)", "mask_kept(before, after)",
     "test_two_maps_compared_by_hand"),
]  # fmt: skip


def test_of(mutant: tuple[str, ...]) -> str:
    """The test that must reject a mutant."""
    named = mutant[3] if "::" in mutant[3] else f"test_{Path(mutant[0]).name}.py::{mutant[3]}"
    return f"tests/{named}"
    return f"tests/{named}"


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

    gc.freeze()  # what was imported before the fork stays: no need to look through it each time
    mutant, *tests = trial
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        mutate(mutant, folder)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = folder
        # No -x: it can turn a file that cannot be collected, code 2, into a failed test, code 1.
        code = pytest.main(
            ["-q", "--assert=plain", "--tb=native", "-p", "no:cacheprovider", "-p", "no:nbval"]
            + ["--hypothesis-profile=mutants", "-o", "addopts="]  # without the shape checks
            + ["-o", f"pythonpath={folder} ."]  # the mutant stands before the package
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
