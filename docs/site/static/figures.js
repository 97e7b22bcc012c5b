// Draws every figure of the page from the plotly JSON that lies inside its <div>.
"use strict";
const figureWords = document.currentScript.dataset; // in the reader's language
for (const place of document.querySelectorAll("div.emolib-figure")) {
  const source = place.querySelector('script[type="application/json"]');
  if (source === null) continue;
  const figure = JSON.parse(source.textContent);
  // plotly.js offers by default to upload the figure to its maker.
  const settings = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" };
  const failed = (error) => {
    place.classList.add("emolib-figure-failed");
    place.textContent = `${figureWords.notDrawn}: ${error}`;
  };
  if (typeof Plotly === "undefined") {
    failed(figureWords.plotlyMissing);
  } else {
    Plotly.newPlot(place, figure.data, figure.layout, settings).catch(failed);
  }
}
