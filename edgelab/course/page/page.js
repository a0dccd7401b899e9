// Paints every figure of the page, top to bottom, from the JSON that stands beside it.
(async () => {
  const touch = matchMedia("(pointer: coarse)").matches;
  const narrow = matchMedia("(max-width: 40rem)").matches;

  // Names at the ends of lines take the width that a phone does not have; a legend takes height.
  const useLegend = (layout) => {
    const annotations = layout.annotations ?? [];
    if (!annotations.some(({ name }) => name === "end")) return;
    layout.annotations = annotations.filter(({ name }) => name !== "end");
    layout.showlegend = true;
    layout.legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
    layout.margin = { ...layout.margin, r: 16, t: 24 + 22 * annotations.length };
    layout.height = (layout.height ?? 400) + 12 * annotations.length;
  };

  for (const figure of document.querySelectorAll("figure.edgelab-figure")) {
    const plot = figure.querySelector(".edgelab-plot");
    try {
      const { data, layout, config } = JSON.parse(figure.querySelector("script").textContent);
      layout.autosize = true;
      if (touch) layout.dragmode = false; // a finger on a figure scrolls the page
      if (narrow) useLegend(layout);
      plot.style.height = `${layout.height ?? 400}px`;
      await Plotly.newPlot(plot, data, layout, { ...config, responsive: true });
    } catch (error) {
      plot.removeAttribute("role");
      plot.textContent = `This figure could not be drawn here (${error.message}).`;
      plot.style.height = "auto";
    }
  }
})();
