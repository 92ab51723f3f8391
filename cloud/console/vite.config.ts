import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { sample } from "./sample/server.ts";

// `npm run dev` serves the pages with hot reload and hands the API to a running hearth-cloud.
const cloud = process.env.HEARTH_CLOUD ?? "http://127.0.0.1:8080";

export default defineConfig(({ mode }) => ({
  plugins: [react(), ...(mode === "sample" ? [sample()] : [])],
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the content policy allows fonts from files only
    chunkSizeWarningLimit: 700,
  },
  server: {
    proxy: mode === "sample" ? undefined : { "/v1": { target: cloud, secure: false, changeOrigin: true } },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
}));
