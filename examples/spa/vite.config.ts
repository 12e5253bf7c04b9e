import react from "@vitejs/plugin-react";
import { defaultClientConditions, defineConfig, loadEnv, type Plugin } from "vite";

/** Restrict what the built page may load and call, so that an injected script cannot send data to other servers. */
function contentSecurityPolicy(apiUrl: string): Plugin {
  const api = apiUrl ? new URL(apiUrl).origin : "http://localhost:8000 http://127.0.0.1:8000";
  const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src ${api}; base-uri 'none'; form-action 'none'`;
  return {
    name: "content-security-policy",
    apply: "build", // the development server adds inline scripts to the page
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: policy }, injectTo: "head-prepend" },
    ],
  };
}

export default defineConfig(({ mode }) => ({
  // Relative addresses, so that the files can be served from any path.
  base: "./",
  plugins: [react(), contentSecurityPolicy(loadEnv(mode, import.meta.dirname).VITE_API_URL ?? "")],
  // Use the source of the client in this repository, without building it first.
  resolve: { conditions: ["@gatepost/source", ...defaultClientConditions] },
  server: { port: 5173, strictPort: true },
  preview: { port: 5173, strictPort: true },
}));
