import react from "@vitejs/plugin-react";
import { defaultClientConditions, defineConfig, loadEnv, type Plugin } from "vite";

/** What the built page may load and call: a script that got in anyway could send what it finds nowhere else. */
function contentSecurityPolicy(apiUrl: string): Plugin {
  const api = apiUrl ? new URL(apiUrl).origin : "http://localhost:8000 http://127.0.0.1:8000";
  const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src ${api}; base-uri 'none'; form-action 'none'`;
  return {
    name: "content-security-policy",
    apply: "build", // the development server puts scripts into the page
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: policy }, injectTo: "head-prepend" },
    ],
  };
}

export default defineConfig(({ mode }) => ({
  // Wherever the files are put, they find each other.
  base: "./",
  plugins: [react(), contentSecurityPolicy(loadEnv(mode, import.meta.dirname).VITE_API_URL ?? "")],
  // The client from this repository as it stands, without a build between.
  resolve: { conditions: ["@gatepost/source", ...defaultClientConditions] },
  server: { port: 5173, strictPort: true },
  preview: { port: 5173, strictPort: true },
}));
