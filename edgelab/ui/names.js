// ipywidgets draws a slider's handle without a name; here each takes the text of the label that stands beside it. A
// dial without an answer says so, until its readout changes; the kernel, which may be busy, is not asked.
function render({ el }) {
  const box = () => el.closest(".edgelab-box");
  const name = () => {
    const untouched = box()?.classList.contains("edgelab-untouched");
    for (const slider of box()?.querySelectorAll(".widget-slider") ?? []) {
      const label = slider.querySelector(".widget-label")?.textContent;
      const value = slider.querySelector(".widget-readout")?.textContent;
      for (const handle of slider.querySelectorAll(".noUi-handle")) {
        if (label && handle.getAttribute("aria-label") !== label) handle.setAttribute("aria-label", label);
        const said = untouched && value === (first ??= value) ? "no answer yet" : value;
        if (said && handle.getAttribute("aria-valuetext") !== said) handle.setAttribute("aria-valuetext", said);
      }
      if (untouched && value && first && value !== first) box().classList.remove("edgelab-untouched");
    }
  };
  el.style.display = "none";
  let observer;
  let first; // where a dial without an answer stands
  const start = () => {
    if (!box()) return;
    observer = new MutationObserver(name);
    observer.observe(box(), { childList: true, subtree: true, characterData: true, attributeFilter: ["class"] });
    name();
  };
  const frame = requestAnimationFrame(start);
  return () => {
    cancelAnimationFrame(frame);
    observer?.disconnect();
  };
}

export default { render };
