// Starts GraphiQL. A file of its own, so that the page's Content-Security-Policy needs no exception for inline scripts.
"use strict";

const root = document.getElementById("graphiql");

if (window.GraphiQL) {
  ReactDOM.createRoot(root).render(
    React.createElement(GraphiQL, {
      fetcher: GraphiQL.createFetcher({ url: root.dataset.endpoint, enableIncrementalDelivery: false }),
      defaultQuery: document.getElementById("first-query").content.textContent.trim() + "\n",
      isHeadersEditorEnabled: true,
      inputValueDeprecation: true,
    }),
  );
} else {
  document.getElementById("notice").textContent =
    "Hindsight runs, but GraphiQL's files are not installed: run `python -m app.api.vendor` and load this page again.";
}
