// One Plotly for the page, however many plots there are. Its code arrives once for each kernel, in the library
// widget that every plot names; the first plot that needs it evaluates it, all others wait for the same promise.
const CONFIG = { displaylogo: false, displayModeBar: false, responsive: false };

// The model that `name` refers to: the library, or the drawing, which is what changes.
const other = (model, name) => model.widget_manager.get_model(model.get(name).replace("IPY_MODEL_", ""));

async function evaluate(model) {
  const library = await other(model, "library");
  const packed = library.get("code");
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(stream).text();
  const before = globalThis.Plotly;
  // As a function with no `module` and no `define` in sight it cannot mistake the page for a module loader.
  new Function("module", "exports", "define", "self", code).call(globalThis, undefined, undefined, undefined, globalThis);
  const plotly = globalThis.Plotly;
  if (before) globalThis.Plotly = before;
  return plotly;
}

function plotlyOf(model) {
  const key = Symbol.for(`edgelab.plotly.${model.get("version")}`);
  globalThis[key] ??= evaluate(model).catch((error) => {
    delete globalThis[key]; // the next plot may try again
    throw error;
  });
  return globalThis[key];
}

const plain = (text) => (text ?? "").replace(/<br>/g, " ").replace(/<[^>]*>/g, "");

async function render({ model, el }) {
  el.classList.add("edgelab-plot");
  const plot = document.createElement("div");
  plot.setAttribute("role", "img");
  const spoken = document.createElement("p");
  spoken.className = "edgelab-spoken";
  spoken.setAttribute("aria-live", "polite");
  el.append(plot, spoken);

  let plotly;
  let drawing;
  try {
    drawing = await other(model, "drawing");
    plotly = await plotlyOf(model);
  } catch (error) {
    el.textContent = `The figure cannot be drawn in this page (${error.message}); run the cell again.`;
    return;
  }

  let speak;
  const paint = async () => {
    const text = drawing.get("figure");
    if (!text) return;
    const { data, layout } = JSON.parse(text);
    plot.setAttribute("aria-label", drawing.get("alt"));
    await plotly.react(plot, data, { ...layout, width: undefined, autosize: true }, CONFIG);
    clearTimeout(speak); // say the finding once the slider rests, not at every step
    speak = setTimeout(() => (spoken.textContent = plain(layout.title?.text)), 700);
  };
  // Plotly cannot react twice at once; what arrives meanwhile is painted once, in its latest state.
  let busy = false;
  let again = false;
  const repaint = async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        await paint();
      }
    } finally {
      busy = false;
    }
  };
  drawing.on("change:figure change:alt", repaint);
  const observer = new ResizeObserver(() => {
    if (plot.offsetWidth && plot.data) plotly.Plots.resize(plot);
  });
  observer.observe(el);
  await repaint();
  return () => {
    clearTimeout(speak);
    observer.disconnect();
    drawing.off("change:figure change:alt", repaint);
    plotly.purge(plot);
  };
}

export default { render };
