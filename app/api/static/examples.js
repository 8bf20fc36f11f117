// The README's queries, to be opened in tabs of their own.
import { openTab } from "./tabs.js";

const { createElement: h, Fragment, useEffect, useState } = React;
const { useEditorContext } = GraphiQL.React;

const Pages = () =>
  h(
    "svg",
    { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", strokeWidth: 1.5, "aria-hidden": true },
    h("path", { d: "M4 5.5c3-1.5 6-1.5 8 0v14c-2-1.5-5-1.5-8 0zM20 5.5c-3-1.5-6-1.5-8 0v14c2-1.5 5-1.5 8 0z" }),
  );

const Section = ({ heading, examples, editors }) =>
  h(
    Fragment,
    null,
    h("h2", null, heading),
    h(
      "ul",
      null,
      examples.map(({ title, says, query }) =>
        h(
          "li",
          { key: query },
          h("button", { type: "button", onClick: () => openTab(editors, query) }, h("code", null, title), says),
        ),
      ),
    ),
  );

const Panel = () => {
  const editors = useEditorContext({ nonNull: true });
  const [sections, setSections] = useState([]);
  useEffect(() => void fetch("/examples.json").then(async (answer) => setSections(await answer.json())), []);
  return h(
    "section",
    { className: "hindsight-panel", "aria-label": "Examples" },
    h("div", { className: "graphiql-doc-explorer-title" }, "Examples"),
    h("p", null, "From the README. Put in ids from answers of your own."),
    sections.map((section) => h(Section, { key: section.heading, editors, ...section })),
  );
};

export const examplesPlugin = { title: "Examples", icon: Pages, content: Panel };
