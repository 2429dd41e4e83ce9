// For pages: find the panels of this script's KIND, and start each when it comes into view.

const loading = new Map();

/** The bytes of a file, out of a script: a page from the disk may not fetch. */
function bytesOf(folder, name) {
  if (!loading.has(name)) {
    loading.set(name, new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = `${folder}${name}.js`;
      script.onerror = () => fail(new Error(`${name} could not be loaded`));
      script.onload = () => {
        const text = atob(window.COURSE_MODELS[name]);
        const bytes = new Uint8Array(text.length);
        for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
        done(bytes.buffer);
      };
      document.head.append(script);
    }));
  }
  return loading.get(name);
}

async function start(host) {
  const { folder, models, options } = host.dataset, begun = performance.now();
  const sources = Object.fromEntries(models.split(" ").map((name) => [name, () => bytesOf(folder, name)]));
  await mount(host, sources, JSON.parse(options));
  host.dataset.startMs = (performance.now() - begun).toFixed(0);
}

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    start(target);
  }
}, { rootMargin: "300px" });
const watch = () => document.querySelectorAll(`[data-${KIND}]`).forEach((host) => watcher.observe(host));
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
else watch();
