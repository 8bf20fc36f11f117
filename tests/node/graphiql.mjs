// Uses GraphiQL as a person would, mostly by keyboard, and prints what came of it as JSON: node graphiql.mjs CHROMIUM URL TOKEN
import { chromium } from "playwright-core";

const [executablePath, url, token] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const page = await browser.newPage({ colorScheme: process.env.COLOR_SCHEME ?? "light", viewport: { width: 1400, height: 850 } });
page.setDefaultTimeout(120_000); // a machine under load takes its time, and nothing here is about time
const elsewhere = [];
const complaints = [];

await page.route(
  (requested) => !["data:", "blob:"].includes(requested.protocol) && requested.origin !== new URL(url).origin,
  (route) => {
    elsewhere.push(route.request().url());
    return route.abort();
  },
);
page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));

const asksFor = (request, text) => request.method() === "POST" && request.postData()?.includes(text);
const answerFor = (text) => page.waitForResponse((response) => asksFor(response.request(), text) && response.ok());
const answerTo = async (text, act) => {
  const answered = answerFor(text);
  await act();
  const answer = await (await answered).json();
  await page.waitForFunction(
    (key) => document.querySelector(".result-window .CodeMirror")?.CodeMirror.getValue().includes(key),
    Object.keys(answer.data ?? answer)[0],
  );
  return answer;
};
const run = () => page.keyboard.press("Control+Enter");
const written = () => page.evaluate(() => document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.getValue());
// GraphiQL looks at what was typed once the typing has paused; until then it would run the operation that was there before.
const lookedAt = async () =>
  page.waitForFunction((typed) => {
    const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem("graphiql:tabState") ?? '{ "tabs": [] }');
    return tabs[activeTabIndex]?.query === typed && !tabs[activeTabIndex].operationName;
  }, await written());
const screenshot = (name) => process.env.SCREENSHOTS && page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });

// Without a token the page asks for one.
await page.goto(url);
await page.locator("#hindsight-token").click();
await page.waitForFunction(() => document.querySelector("[role=status]")?.textContent);
const stranger = await page.locator("[role=status]").textContent();
const refusals = complaints.splice(0);
await screenshot("token");
const introspected = answerFor("IntrospectionQuery");
await page.keyboard.type(token);
await page.keyboard.press("Enter");
const schema = await (await introspected).json();
await page.waitForFunction((before) => document.querySelector("[role=status]").textContent !== before, stranger);
const known = await page.locator("[role=status]").textContent();

// The first query is there; another one is typed, and completed by what the schema has.
await page.locator(".graphiql-query-editor .CodeMirror").click();
const first = await answerTo("WhoIsThere", run);
await page.keyboard.press("Control+A");
await page.keyboard.press("Delete");
await page.keyboard.type("{ use", { delay: 5 });
await page.keyboard.press("Control+Space");
await page.locator(".CodeMirror-hints").waitFor();
const hints = await page.locator(".CodeMirror-hints li").allTextContents();
await page.keyboard.type("rs", { delay: 5 });
await page.locator(".CodeMirror-hint-active").filter({ hasText: /^users/ }).waitFor();
await page.keyboard.press("Enter");
await page.locator(".CodeMirror-hints").waitFor({ state: "detached" });
await page.keyboard.type(" { totalCount } }", { delay: 5 });
await page.keyboard.press("Escape");
await lookedAt();
const completed = await written();
const typed = await answerTo("totalCount", run);

// An example from the README is opened and run; the id in its answer leads to what happened.
await page.getByRole("button", { name: "Show Examples" }).click();
await page.locator(".hindsight-panel li button").first().click();
await page.waitForFunction(() =>
  document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.getValue().includes("createTenant"),
);
const example = await written();
await lookedAt();
const created = await answerTo("createTenant", run);
await screenshot("examples");
const timeline = await answerTo("query Timeline", () => page.locator(".cm-hindsight-id").first().click());
await screenshot("timeline");

// A subscription tells what the log holds already, then what comes.
const subscribed = async () => {
  await page.locator(".graphiql-query-editor .CodeMirror").click();
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  await page.keyboard.type("subscription { events(after: 0) { position type } }", { delay: 5 });
  await page.keyboard.press("Escape");
  await lookedAt();
  await run();
  const told = async (position) => {
    const result = await page.waitForFunction((wanted) => {
      const text = document.querySelector(".result-window .CodeMirror").CodeMirror.getValue();
      return text.includes("errors") || text.includes(`"position": ${wanted}`) ? text : null;
    }, position);
    return JSON.parse(await result.jsonValue()).data;
  };
  const past = await told(1);
  await page.request.post(`${url}graphql`, {
    headers: { authorization: `Bearer ${token}` },
    data: { query: 'mutation { createTenant(input: { name: "Harbour" }) { position } }' },
  });
  return [past, await told(2)];
};
const events = await subscribed();
await screenshot("subscription");

const title = await page.title();
const kept = await page.evaluate(() => ({ session: { ...sessionStorage }, local: JSON.stringify(localStorage) }));
await browser.close();
const types = schema.data.__schema.types.length;
console.log(
  JSON.stringify({
    ...{ title, types, stranger, refusals, known, first, hints, completed, typed, example, created, timeline, events },
    ...{ kept, elsewhere, complaints },
  }),
);
