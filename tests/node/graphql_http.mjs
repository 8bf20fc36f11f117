// Holds a running server against the GraphQL over HTTP specification, by the audits of npm's graphql-http:
// node graphql_http.mjs URL AUTHORIZATION
import { auditServer } from "graphql-http";

const [url, authorization] = process.argv.slice(2);
const fetchFn = (url, { headers, ...rest } = {}) => fetch(url, { ...rest, headers: { ...headers, authorization } });
const results = await auditServer({ url, fetchFn });
for (const { status, id, name, reason } of results) if (status !== "ok") console.log(status, id, name, "|", reason);
console.log(`${results.filter(({ status }) => status === "ok").length} of ${results.length} ok`);
