// What a reader has read and solved: ticks, kept in this browser and nowhere else.
{
  const KEY = "from-bigram-to-transformer";
  const PLACE = /(lessons\/\d\d_\w+)\.html/;

  const load = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return new Set(Array.isArray(kept) ? kept.filter(name => typeof name === "string") : []);
    } catch {
      return new Set();
    }
  };
  const store = done => {
    try {
      localStorage.setItem(KEY, JSON.stringify([...done].sort()));
      return true;
    } catch {
      return false; // a browser that keeps nothing
    }
  };

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const tick = (name, text) => {
    const box = make("input", { type: "checkbox", checked: load().has(name) });
    box.addEventListener("change", () => {
      const done = load();
      if (box.checked) done.add(name);
      else done.delete(name);
      if (!store(done)) box.checked = false;
    });
    return make("label", { className: "tick" }, box, ` ${text}`);
  };

  // In a lesson: a tick for the whole at its end, and one for each exercise.
  const addTicks = lesson => {
    for (const heading of document.querySelectorAll(".bd-article h3")) {
      if (!heading.textContent.startsWith("Exercise ")) continue;
      heading.after(tick(`${lesson}#${heading.parentElement.id}`, "solved"));
    }
    const recap = document.querySelector(".bd-article #recap");
    recap?.append(tick(lesson, "I have read this lesson"));
  };

  // Where all lessons are listed: marks, and how many.
  const showMarks = map => {
    const done = load(), lessons = new Set();
    map.querySelectorAll(".done-mark").forEach(mark => mark.remove());
    for (const link of map.querySelectorAll("a")) {
      const lesson = PLACE.exec(link.href)?.[1];
      if (!lesson) continue;
      lessons.add(lesson);
      if (done.has(lesson)) {
        link.before(make("span", { className: "done-mark", title: "read" }, "✓ "));
      }
    }
    const solved = [...done].filter(name => name.includes("#")).length;
    const read = [...lessons].filter(lesson => done.has(lesson)).length;
    return `${read} of ${lessons.size} lessons read, ${solved} exercises solved.`;
  };

  const save = () => {
    const file = new Blob([JSON.stringify([...load()].sort(), null, 1)], { type: "application/json" });
    const link = make("a", { href: URL.createObjectURL(file), download: "course-progress.json" });
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const read = async file => {
    const names = JSON.parse(await file.text());
    const isRight = name => typeof name === "string" && /^lessons\/\d\d_\w+(#[\w-]+)?$/.test(name);
    if (!Array.isArray(names) || !names.every(isRight)) throw new Error("it holds no ticks");
    store(new Set([...load(), ...names]));
  };

  const addControls = place => {
    const said = make("p", { role: "status" });
    const update = () => {
      document.querySelectorAll(".road-map").forEach(map => { said.textContent = showMarks(map); });
    };
    const button = (text, act) => {
      const element = make("button", { type: "button", className: "button", textContent: text });
      element.addEventListener("click", act);
      return element;
    };
    const file = make("input", { type: "file", accept: ".json", ariaLabel: "A file with ticks" });
    file.addEventListener("change", async () => {
      try {
        await read(file.files[0]);
        update();
      } catch (error) {
        said.textContent = `This file cannot be read: ${error.message}.`;
      }
      file.value = "";
    });
    const clear = button("Remove all ticks", () => { store(new Set()); update(); });
    const label = make("label", { className: "button" }, "Read from a file ", file);
    place.replaceChildren(said, make("p", {}, button("Save as a file", save), label, clear));
    update();
  };

  addEventListener("DOMContentLoaded", () => {
    const lesson = PLACE.exec(location.pathname)?.[1];
    if (lesson) addTicks(lesson);
    const place = document.querySelector("[data-progress]");
    if (place) addControls(place);
    else document.querySelectorAll(".road-map").forEach(showMarks);
  });
}
