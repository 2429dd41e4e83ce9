// What the search shows of a page: its article, where the words stand, and nothing else.
// First come entries of the index (book/search_words.yml; up to 100 points), then titles
// (15), then words of the text (5); what only repeats is behind lessons and glossary.
{
  const MOST = 20; // results, each of which is fetched for its words
  const NO_PROSE = ".headerlink, script, style, svg, h1, .cell, .math, .toctree-wrapper";

  const score = ([page, , , description, points]) => {
    if (description) return points - 20; // a name of the library
    if (page.startsWith("lessons/")) return points + 3;
    if (page === "book/glossary") return points + 2;
    return page.startsWith("solutions/") || page === "book/api" ? points - 10 : points;
  };

  const toText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const article = page.querySelector("article");
    const part = anchor && page.getElementById(decodeURIComponent(anchor.slice(1)));
    const text = part && article.contains(part) ? part : article;
    text.querySelectorAll(NO_PROSE).forEach(element => element.remove());
    return text.textContent.replace(/\s+/g, " ").trim();
  };

  const summary = (html, words, anchor) => {
    const text = toText(html, anchor), small = text.toLowerCase();
    const places = [...words].map(word => small.indexOf(word)).filter(place => place >= 0);
    const first = places.length ? Math.max(0, Math.min(...places) - 80) : 0;
    const start = first && text.indexOf(" ", first) + 1;
    const end = Math.max(text.lastIndexOf(" ", start + 240), start);
    const piece = text.length > start + 240 ? `${text.slice(start, end)} …` : text.slice(start);
    const paragraph = document.createElement("p");
    paragraph.className = "context";
    paragraph.textContent = start ? `… ${piece}` : piece;
    return paragraph;
  };

  // A section that an entry of the index leads to is named as one that a title leads to.
  const nameSections = results => {
    const { alltitles, docnames, titles } = Search._index;
    const names = new Map(Object.entries(alltitles).flatMap(([title, places]) =>
      places.map(([file, id]) => [`${docnames[file]}#${id}`, `${titles[file]} > ${title}`])));
    for (const result of results) {
      if (result[2] && !result[3]) result[1] = names.get(result[0] + result[2]) ?? result[1];
    }
    const places = results.map(([page, , anchor]) => page + anchor);
    return results.filter((_, i) => places.lastIndexOf(places[i]) === i); // the best is last
  };

  // On the document, as the search itself begins: before it, as this script comes first.
  document.addEventListener("DOMContentLoaded", () => {
    // Pages cannot be fetched from a disk.
    if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
    Scorer.score = score;
    Search.htmlToText = toText;
    Search.makeSearchSummary = summary;
    Search.query = query => {
      const parsed = Search._parseQuery(query);
      const results = nameSections(Search._performSearch(...parsed)).slice(-MOST);
      _displayNextItem(results, results.length, parsed[1], parsed[3]);
    };
  });
}
