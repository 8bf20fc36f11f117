// Who asks: the bearer token, which stays in this tab (sessionStorage), and the panel in which it is given.
const { createElement: h, useEffect, useState } = React;
const { Button, usePluginStore, useSchemaStore } = GraphiQL.React;
const KEY = "hindsight:token";

export const authorization = () => {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

const WHO = "query Who { viewer { name permissions tenant { name } } }";

const who = async (endpoint) => {
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization() },
    body: JSON.stringify({ query: WHO }),
  });
  const { data, errors } = await answer.json();
  if (!data?.viewer) return errors?.[0].message ?? "Nobody.";
  const { name, permissions, tenant } = data.viewer;
  return `${name}, in ${tenant?.name ?? "all tenants"}, may: ${permissions.join(", ") || "nothing"}`;
};

const Key = () =>
  h(
    "svg",
    { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", strokeWidth: 1.5, "aria-hidden": true },
    h("circle", { cx: 8, cy: 8, r: 4.5 }),
    h("path", { d: "M11.5 11.5 20 20m-3.5-3.5 2.5-2.5" }),
  );

const Panel = ({ endpoint }) => {
  const { introspect } = useSchemaStore();
  const [token, setToken] = useState(sessionStorage.getItem(KEY) ?? "");
  const [told, setTold] = useState("");
  const ask = () => who(endpoint).then(setTold, (error) => setTold(String(error)));
  useEffect(() => void ask(), []);
  const keep = (given) => {
    setToken(given);
    if (given) sessionStorage.setItem(KEY, given);
    else sessionStorage.removeItem(KEY);
    introspect();
    ask();
  };
  const submit = (event) => {
    event.preventDefault();
    keep(token.trim().replace(/^bearer\s+/i, ""));
  };
  return h(
    "section",
    { className: "hindsight-panel", "aria-label": "Token" },
    h("div", { className: "graphiql-doc-explorer-title" }, "Token"),
    h("p", null, "Every request says who sends it by a token: ", h("code", null, "hindsight token"), " prints one."),
    h(
      "form",
      { onSubmit: submit },
      h("label", { htmlFor: "hindsight-token" }, "Bearer token"),
      h("input", {
        id: "hindsight-token",
        type: "password",
        autoComplete: "off",
        spellCheck: false,
        value: token,
        onChange: (event) => setToken(event.target.value),
      }),
      h(
        "div",
        { className: "hindsight-buttons" },
        h(Button, { type: "submit", state: "success" }, "Use it"),
        h(Button, { type: "button", onClick: () => keep("") }, "Forget it"),
      ),
    ),
    h("p", { role: "status" }, told),
    h("p", { className: "hindsight-aside" }, "It is forgotten when this tab is closed. A header of the same name wins."),
  );
};

export const tokenPlugin = (endpoint) => ({ title: "Token", icon: Key, content: () => h(Panel, { endpoint }) });

// Opens the panel when there is no token yet. GraphiQL opens one only for a click on its button.
export const AskForToken = () => {
  const { plugins } = usePluginStore();
  useEffect(() => {
    if (!sessionStorage.getItem(KEY)) document.querySelector('.graphiql-sidebar [aria-label="Show Token"]')?.click();
  }, [plugins]);
  return null;
};
