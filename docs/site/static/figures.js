// Draws every figure of the page from the plotly JSON that lies inside its <div>.
"use strict";
for (const place of document.querySelectorAll("div.emolib-figure")) {
  const source = place.querySelector('script[type="application/json"]');
  if (source === null) continue;
  const figure = JSON.parse(source.textContent);
  // plotly.js offers by default to upload the figure to its maker.
  const settings = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" };
  const failed = (error) => {
    place.classList.add("emolib-figure-failed");
    place.textContent = "図を描けませんでした: " + error;
  };
  if (typeof Plotly === "undefined") {
    failed("_static/plotly.min.js を読み込めません");
  } else {
    Plotly.newPlot(place, figure.data, figure.layout, settings).catch(failed);
  }
}
