// Its own program listens on every address of the machine. This one listens on a free port of 127.0.0.1.
const { createRequire } = require("node:module");
const judges = createRequire(`${process.env.SEQUIN_JUDGES_MODULES}/`);
const { createExpressApp } = judges("stripe-stateful-mock");
createExpressApp().listen(0, "127.0.0.1");
