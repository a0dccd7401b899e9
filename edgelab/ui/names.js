// ipywidgets draws a slider's handle without a name; here each takes the text of the label that stands beside it.
function render({ el }) {
  const box = () => el.closest(".edgelab-box");
  const name = () => {
    for (const slider of box()?.querySelectorAll(".widget-slider") ?? []) {
      const label = slider.querySelector(".widget-label")?.textContent;
      const value = slider.querySelector(".widget-readout")?.textContent;
      for (const handle of slider.querySelectorAll(".noUi-handle")) {
        if (label && handle.getAttribute("aria-label") !== label) handle.setAttribute("aria-label", label);
        if (value && handle.getAttribute("aria-valuetext") !== value) handle.setAttribute("aria-valuetext", value);
      }
    }
  };
  el.style.display = "none";
  let observer;
  const start = () => {
    if (!box()) return;
    observer = new MutationObserver(name);
    observer.observe(box(), { childList: true, subtree: true, characterData: true });
    name();
  };
  const frame = requestAnimationFrame(start);
  return () => {
    cancelAnimationFrame(frame);
    observer?.disconnect();
  };
}

export default { render };
