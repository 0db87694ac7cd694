import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import { explainTaken, takenAmong } from "./free-ports.ts";

suite("free ports", () => {
  test("a taken port is found and let go of a free one", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => holder.once("listening", resolve));
    const { port } = holder.address() as AddressInfo;
    assert.deepEqual(await takenAmong(["127.0.0.1"], [port]), [{ host: "127.0.0.1", port, why: "taken" }]);
    await new Promise((resolve) => holder.close(resolve));
    assert.deepEqual(await takenAmong(["127.0.0.1"], [port]), []);
  });

  test("the sentence names the places and the way out", () => {
    assert.match(
      explainTaken(
        [
          { host: "127.0.0.1", port: 2525, why: "taken" },
          { host: "::1", port: 2525, why: "taken" },
        ],
        0,
      ),
      /^127\.0\.0\.1:2525, \[::1\]:2525 are in use .* npm start -- --offset 100$/,
    );
    assert.match(
      explainTaken([{ host: "127.0.0.1", port: 80, why: "forbidden" }], 0),
      /may not listen on 127\.0\.0\.1:80\. Choose ports from 1024 on/,
    );
  });
});
