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

  // In a quiz: the option that is opened first is the answer, and it is counted.
  const addScore = quiz => {
    const questions = [...quiz.querySelectorAll(".quiz-question")];
    const said = make("p", { role: "status" });
    const first = id => [...load()].find(name => name.startsWith(`quiz#${id}=`));
    const update = () => {
      const answers = questions.map(({ id }) => first(id)).filter(Boolean);
      const right = answers.filter(name => name.endsWith("=right")).length;
      said.textContent = answers.length
        ? `${answers.length} of ${questions.length} answered, ${right} right at the first try.` : "";
    };
    for (const question of questions) {
      for (const option of question.querySelectorAll("details.option")) {
        option.addEventListener("toggle", () => {
          if (!option.open || first(question.id)) return;
          const worth = option.classList.contains("right") ? "right" : "wrong";
          store(load().add(`quiz#${question.id}=${worth}`));
          update();
        });
      }
    }
    const again = make("button", { type: "button", className: "button", textContent: "Start again" });
    again.addEventListener("click", () => {
      quiz.querySelectorAll("details.option").forEach(option => { option.open = false; });
      const done = load();
      for (const { id } of questions) done.delete(first(id));
      store(done);
      update();
    });
    quiz.append(said, again);
    update();
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
    const solved = [...done].filter(name => name.includes("#exercise")).length;
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
    const isRight = name => typeof name === "string" && /^(lessons\/\d\d_\w+(#[\w-]+)?|quiz#[\w-]+=(right|wrong))$/.test(name);
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
    const label = make("label", { className: "button file" }, "Read from a file", file);
    place.replaceChildren(said, make("p", {}, button("Save as a file", save), label, clear));
    update();
  };

  addEventListener("DOMContentLoaded", () => {
    const lesson = PLACE.exec(location.pathname)?.[1];
    if (lesson) addTicks(lesson);
    document.querySelectorAll(".quiz").forEach(addScore);
    const place = document.querySelector("[data-progress]");
    if (place) addControls(place);
    else document.querySelectorAll(".road-map").forEach(showMarks);
  });
}
