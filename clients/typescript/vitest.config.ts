import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    globalSetup: "test/server.ts",
    include: ["test/**/*.test.ts"],
    // They share one service, and one of them shuts it for maintenance.
    fileParallelism: false,
    // A busy machine must make these slow rather than red.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
