// Uses GraphiQL as a person would, by keyboard, and prints what came of it as JSON: node graphiql.mjs CHROMIUM URL QUERY
import { chromium } from "playwright-core";

const [executablePath, url, query] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const page = await browser.newPage();
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

const answerTo = async (act) => {
  const answered = page.waitForResponse(
    (response) => response.request().method() === "POST" && !response.request().postData().includes("IntrospectionQuery"),
  );
  await act();
  const answer = await (await answered).json();
  await page.waitForFunction(
    (key) => document.querySelector(".result-window .CodeMirror")?.CodeMirror.getValue().includes(key),
    Object.keys(answer.data ?? answer)[0],
  );
  return answer;
};

const introspected = page.waitForResponse((response) => response.request().postData()?.includes("IntrospectionQuery"));
await page.goto(url);
const schema = await (await introspected).json();
const editor = page.locator(".graphiql-query-editor .CodeMirror");
await editor.click();
const first = await answerTo(() => page.keyboard.press("Control+Enter"));
await page.keyboard.press("Control+A");
await page.keyboard.press("Delete");
await page.keyboard.type(query, { delay: 5 });
await page.keyboard.press("Escape");
// GraphiQL looks at what was typed once the typing has paused; until then it would run the operation that was there before.
await page.waitForFunction((typed) => {
  const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem("graphiql:tabState") ?? '{ "tabs": [] }');
  return tabs[activeTabIndex]?.query === typed && !tabs[activeTabIndex].operationName;
}, query);
const typed = await answerTo(() => page.keyboard.press("Control+Enter"));

const title = await page.title();
if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
await browser.close();
console.log(JSON.stringify({ title, types: schema.data.__schema.types.length, first, typed, elsewhere, complaints }));
