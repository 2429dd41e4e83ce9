
// For notebooks: what anywidget calls.

function render({ model, el }) {
  const host = document.createElement("div");
  el.append(host);
  const bytes = model.get("checkpoint");
  const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const shown = mount(host, { "your model": async () => copy }, model.get("options"));
  return () => shown.then((panel) => panel.close());
}

export default { render };
