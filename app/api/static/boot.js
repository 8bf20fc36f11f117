// Starts GraphiQL. Files of their own, so that the page's Content-Security-Policy needs no exception for inline scripts.
const root = document.getElementById("graphiql");

const start = async () => {
  const [{ AskForToken, authorization, tokenPlugin }, { examplesPlugin }, { Timelines }] = await Promise.all([
    import("./token.js"),
    import("./examples.js"),
    import("./timeline.js"),
  ]);
  const { createElement: h } = React;
  const { endpoint } = root.dataset;
  const address = new URL(endpoint, location.href);
  const subscriptionUrl = Object.assign(new URL(address), { protocol: address.protocol.replace("http", "ws") }).href;
  const fetcher = GraphiQL.createFetcher({ url: endpoint, subscriptionUrl, enableIncrementalDelivery: false });
  const asked = (request, options) => fetcher(request, { ...options, headers: { ...authorization(), ...options?.headers } });
  ReactDOM.createRoot(root).render(
    h(
      GraphiQL,
      {
        fetcher: asked,
        defaultQuery: document.getElementById("first-query").content.textContent.trim() + "\n",
        isHeadersEditorEnabled: true,
        inputValueDeprecation: true,
        plugins: [tokenPlugin(endpoint), examplesPlugin],
      },
      h(
        GraphiQL.Logo,
        null,
        h("a", { href: "/", className: "hindsight-logo" }, h("img", { src: "/static/favicon.svg", alt: "" }), "Hindsight"),
      ),
      h(GraphiQL.Footer, null, h(Timelines), h(AskForToken)),
    ),
  );
};

if (window.GraphiQL) {
  start();
} else {
  document.getElementById("notice").textContent =
    "Hindsight runs, but GraphiQL's files are not installed: run `python -m app.api.vendor` and load this page again.";
}
