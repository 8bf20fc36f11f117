"""The GraphQL API: one file a part of the graph. No SQL."""
