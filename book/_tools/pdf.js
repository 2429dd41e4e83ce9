// Run by pdf.py in a page of the site before it is printed.
const makeLink = (words, href) => {
  const link = document.createElement("a");
  [link.className, link.textContent, link.href] = ["to-answer", words, href];
  return link;
};

window.paper = {
  // Every id of the page becomes a place that links can lead to.
  places() {
    const article = document.querySelector("article"), box = document.createElement("p");
    box.style.display = "none";
    const ids = new Set([...article.querySelectorAll("[id]")].map(e => e.id));
    for (const id of ids) {
      const link = document.createElement("a");
      link.href = "#" + encodeURIComponent(id);
      box.append(link);
    }
    article.append(box);
  },

  // The headings below the first: where each is and what it says.
  sections: () => [...document.querySelectorAll("article section > h2")].map(
    h => [h.parentElement.id, h.innerText.replace(/#$/, "").trim()]),

  // Take the answers out; each question says where its answer is.
  fold(answers) {
    for (const box of document.querySelectorAll("article details.hide")) box.open = true;
    const home = location.pathname + location.search, kept = [];
    const found = "article details:not(.hide), article .cell.tag_answer";
    [...document.querySelectorAll(found)].forEach((box, i) => {
      const n = i + 1, section = box.closest("section");
      if (box.matches(".cell")) {
        kept.push({cell: box, section});
        box.remove();
        return;
      }
      const summary = box.querySelector("summary"), ask = summary.cloneNode(true);
      const text = [...box.childNodes].filter(e => e.nodeName !== "SUMMARY");
      const what = /^Hint/.test(ask.textContent) ? "hint" : "answer";
      kept.push({ask, text, n, home, section});
      text.forEach(e => e.remove());
      summary.append(makeLink(`see the ${what}`, `${answers}#answer-${n}`));
      box.id = `question-${n}`;
      box.open = true;
    });
    window.kept = kept;
    return kept.length;
  },

  // Leave nothing but the answers that were taken out.
  answers(title) {
    const article = document.querySelector("article");
    const heading = document.createElement("h1");
    heading.textContent = title;
    const parts = [heading];
    let last;
    for (const {ask, text, cell, n, home, section} of window.kept) {
      if (section !== last) {
        const name = document.createElement("h2");
        name.textContent = section.querySelector("h2, h3").innerText.replace(/#$/, "");
        parts.push(name);
        last = section;
      }
      if (cell) {
        parts.push(cell);
        continue;
      }
      const question = document.createElement("p");
      question.className = "asked";
      question.id = `answer-${n}`;
      question.append(...ask.childNodes, makeLink("back", `${home}#question-${n}`));
      parts.push(question, ...text);
    }
    article.replaceChildren(...parts);
    history.replaceState(null, "", "?answers"); // so that a link to the lesson leads there
  },
};
