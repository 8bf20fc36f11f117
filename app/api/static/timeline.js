// Every id in an answer leads to what happened: of an event's, to the thing that it happened to.
import { openTab } from "./tabs.js";

const { createElement: h, useEffect, useRef } = React;
const { useEditorContext } = GraphiQL.React;

const ID = /"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"/;

const timeline = (id) => `query Timeline {
  node(id: "${id}") {
    ...Story
    ... on Event {
      type
      subject {
        ...Story
      }
    }
  }
}

fragment Story on Node {
  id
  __typename
  ... on User {
    username
    history(first: 100) {
      ...Steps
    }
  }
  ... on Role {
    name
    history(first: 100) {
      ...Steps
    }
  }
  ... on Tenant {
    name
    history(first: 100) {
      ...Steps
    }
  }
}

fragment Steps on EventConnection {
  totalCount
  nodes {
    id
    version
    type
    occurredAt
    actor
    data
  }
}
`;

const overlay = {
  token(stream) {
    if (stream.sol() && stream.string.includes('"requestId"')) stream.skipToEnd(); // a request is in the log of the server
    if (stream.match(ID)) return "hindsight-id";
    while (stream.next() != null && !stream.match(ID, false)) {}
    return null;
  },
};

const idIn = (editor, { line }) => editor.getLine(line).match(ID)?.[1]; // an answer has one value a line

// Marks the ids in the answer, and opens the timeline of the one that is clicked, or in whose line Enter is pressed.
export const Timelines = () => {
  const editors = useEditorContext({ nonNull: true });
  const newest = useRef(editors);
  newest.current = editors;
  const { responseEditor } = editors;
  useEffect(() => {
    if (!responseEditor) return;
    const open = (id) => id && openTab(newest.current, timeline(id), { run: true });
    const clicked = (_editor, event) => {
      if (event.button === 0 && event.target.classList.contains("cm-hindsight-id")) {
        event.preventDefault();
        open(idIn(responseEditor, responseEditor.coordsChar({ left: event.clientX, top: event.clientY })));
      }
    };
    const keys = { Enter: () => open(idIn(responseEditor, responseEditor.getCursor())) };
    responseEditor.addOverlay(overlay);
    responseEditor.addKeyMap(keys);
    responseEditor.on("mousedown", clicked);
    return () => {
      responseEditor.removeOverlay(overlay);
      responseEditor.removeKeyMap(keys);
      responseEditor.off("mousedown", clicked);
    };
  }, [responseEditor]);
  return h("p", { className: "hindsight-hint" }, "An id in the answer opens its timeline: by a click, or by Enter in its line.");
};
