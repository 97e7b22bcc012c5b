// Draws every CircuitsVis view of the page from the JSON inside its <div>. The fallback stays until CircuitsVis has
// drawn, and comes back if its drawing is ever taken down by an error.
"use strict";
(() => {
  // CircuitsVis puts a coloured token into the page as HTML, and into its hover box as text. An invisible word joiner
  // after `<` and `&` is right for both: HTML begins neither a tag nor a character reference there.
  const harmless = (token) => String(token).replace(/[<&]/g, "$&\u2060").replace(/\n/g, "↵\n");
  const PROPS = {
    ColoredTokens: (props) => ({ ...props, tokens: props.tokens.map(harmless) }),
    // Here tokens meet text and canvas alone; white space is cut.
    AttentionHeads: (props) => ({ ...props, tokens: props.tokens.map((token) => token.replace(/\n/g, "↵")) }),
  };

  const add = (parent, tag, text, style = {}) => {
    const child = document.createElement(tag);
    child.textContent = text;
    Object.assign(child.style, style);
    parent.append(child);
    return child;
  };

  const addScale = (parent, { minValue, maxValue, negativeColor, positiveColor }) => {
    const line = add(parent, "div", "", { display: "flex", gap: "8px", alignItems: "center", margin: "4px 0 10px" });
    const left = minValue < 0 ? `${negativeColor}, ` : "";
    add(line, "span", minValue);
    add(line, "span", "", {
      width: "160px", height: "12px", border: "1px solid #ccc",
      background: `linear-gradient(to right, ${left}white, ${positiveColor})`,
    });
    add(line, "span", maxValue);
  };

  const draw = (place, name) => {
    if (typeof CircuitsVis === "undefined") throw new Error("CircuitsVis is not loaded");
    const view = JSON.parse(place.querySelector('script[type="application/json"]').textContent);
    const fallback = place.querySelector("div.emolib-view-fallback");
    const parts = view.elements ?? [view];
    const props = parts.map((part) => PROPS[part.element](part.props));
    // Flat, not hidden, until it is drawn: a chart takes its size from the width.
    const drawing = add(place, "div", "", { height: "0", overflow: "hidden" });
    drawing.className = "emolib-view-drawing";
    if (view.caption) add(drawing, "p", view.caption);
    addScale(drawing, props[0]);
    const targets = parts.map((part, index) => {
      if (part.label) add(drawing, "p", part.label, { fontWeight: "bold", margin: "8px 0 2px" });
      const target = add(drawing, "div", "", part.element === "AttentionHeads" ? { maxWidth: "720px" } : {});
      target.id = `${name}-${index}`;
      return target;
    });
    const observer = new MutationObserver(() => {
      const done = targets.every((target) => target.childElementCount > 0);
      fallback.hidden = done;
      drawing.style.height = done ? "" : "0";
      drawing.style.overflow = done ? "" : "hidden";
    });
    for (const target of targets) observer.observe(target, { childList: true });
    parts.forEach((part, i) => CircuitsVis.render(targets[i].id, CircuitsVis[part.element], props[i]));
  };

  document.querySelectorAll("div.emolib-view").forEach((place, index) => {
    try {
      draw(place, `emolib-view-${index}`);
    } catch (error) {
      console.warn("view not drawn, its fallback stays: " + error);
    }
  });
})();
