// The Relay rules that schema.graphql keeps; run by tests/api/test_schema_rules.py from the project's folder.
import graphql from "@graphql-eslint/eslint-plugin";

export default [
  {
    files: ["schema.graphql"],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: "schema.graphql" } } },
    plugins: { "@graphql-eslint": graphql },
    rules: {
      ...graphql.configs["flat/schema-relay"].rules,
      "@graphql-eslint/relay-edge-types": [
        "error",
        {
          withEdgeSuffix: true,
          // A connection has `nodes` beside `edges`, and a user a short list of roles, which is no connection.
          listTypeCanWrapOnlyEdgeType: false,
          // Logins, dead letters and changes between two moments have no id of their own; a test names these three.
          shouldImplementNode: false,
        },
      ],
    },
  },
];
