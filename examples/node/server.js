// A small Express application that says where it runs.
//
// PORT (default 8000) and HOST (default 127.0.0.1) say where it listens.

import os from "node:os";
import express from "express";

const app = express();

app.get("/", (request, response) => {
  response.type("text/plain").send(
    `hello from ${os.hostname()}\n` +
    `kernel     ${os.release()}\n` +
    `node       ${process.version}\n` +
    `user       ${process.getuid()}\n`);
});

app.get("/health", (request, response) => {
  response.json({ status: "ok" });
});

const server = app.listen(Number(process.env.PORT ?? 8000), process.env.HOST ?? "127.0.0.1", (error) => {
  if (error) throw error;
});

// The first process of a container gets no default action for SIGTERM: without this, it would not stop.
process.on("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
