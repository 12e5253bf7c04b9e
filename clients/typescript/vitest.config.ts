import { resolve } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { alias: { "@gatepost/client": resolve(import.meta.dirname, "src/index.ts") } },
  test: {
    globalSetup: "test/server.ts",
    include: ["test/**/*.test.ts"],
    // The tests share one service, and one test switches on its maintenance mode.
    fileParallelism: false,
    // Long enough for a busy machine.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
