// Arrow keys and the space bar turn the slides, n shows what is said.
const slides = [...document.querySelectorAll("section")];
const STEPS = { ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1 };
const shown = () =>
  slides.findIndex((slide) => slide.getBoundingClientRect().bottom > innerHeight / 2);
addEventListener("keydown", (event) => {
  if (event.target.closest?.("input, select, button, summary")) return;
  if (event.key === "n") document.body.classList.toggle("notes");
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  slides[Math.max(0, Math.min(slides.length - 1, shown() + step))].scrollIntoView();
});
