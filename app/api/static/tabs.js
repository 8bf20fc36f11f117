// Opens a query in a tab of its own.

const parsed = (editor, query) =>
  new Promise((done) => {
    const look = () => (editor.documentAST?.loc?.source.body === query ? done() : requestAnimationFrame(look));
    look();
  });

export const openTab = ({ addTab, queryEditor, variableEditor }, query, { run = false } = {}) => {
  addTab();
  // GraphiQL fills its editors when it draws the new tab.
  setTimeout(async () => {
    queryEditor.setValue(query);
    variableEditor?.setValue("");
    queryEditor.focus();
    if (!run) return;
    await parsed(queryEditor, query); // until then GraphiQL would run the operation that was there before
    document.querySelector(".graphiql-execute-button").click();
  });
};
