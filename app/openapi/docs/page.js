// The page at /docs: Swagger UI, and a sign-in of its own, so that nobody has to copy tokens about.
"use strict";

(() => {
  const STORE = "gatepost.docs";
  const HURRY_MS = 30_000;
  const API = new URL("api/v1/", document.baseURI).href;
  const part = (id) => document.getElementById(id);

  // In this tab alone, and gone with it: a reload keeps the session, another visitor of this browser finds none.
  let session = JSON.parse(sessionStorage.getItem(STORE) ?? "null");
  let refreshing = null;
  let ui = null;
  // Whether Swagger UI has a token of ours: it can't forget one that it never had.
  let isGiven = false;

  function keep(answer) {
    session = answer && {
      name: answer.user?.name ?? session?.name ?? "",
      access: answer.access_token,
      refresh: answer.refresh_token,
      expiresAt: Date.now() + answer.expires_in * 1000,
    };
    if (session) sessionStorage.setItem(STORE, JSON.stringify(session));
    else sessionStorage.removeItem(STORE);
    show();
  }

  function show(told = "") {
    part("sign-in").hidden = part("hint").hidden = Boolean(session);
    part("signed-in").hidden = !session;
    part("who").textContent = session?.name ?? "";
    part("told").textContent = told;
    if (session) ui?.preauthorizeApiKey("accessToken", session.access);
    else if (isGiven) ui?.authActions.logout(["accessToken"]);
    isGiven = Boolean(session && ui);
  }

  async function call(path, token, body) {
    const headers = { "Content-Type": "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(API + path, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
    const content = answer.status === 204 ? null : await answer.json();
    if (!answer.ok) throw new Refused(answer.status, content);
    return content;
  }

  class Refused extends Error {
    constructor(status, problem) {
      super(Object.values(problem.errors ?? {}).flat().join(" ") || problem.detail);
      this.status = status;
    }
  }

  async function signIn(event) {
    event.preventDefault();
    try {
      keep(await call("auth/login", null, { email: part("email").value, password: part("password").value }));
      part("password").value = "";
    } catch (error) {
      show(error.message);
    }
  }

  async function signOut() {
    const { refresh } = session;
    keep(null);
    // A session that has ended already is no reason to stay.
    await call("auth/logout", refresh).catch(() => {});
  }

  // One refresh, however many calls find that the token is running out.
  function refresh() {
    refreshing ??= call("auth/refresh", session.refresh)
      .then(keep)
      .catch((error) => {
        if (error.status !== 401) throw error;
        keep(null);
        show("Your session has ended: sign in again.");
      })
      .finally(() => (refreshing = null));
    return refreshing;
  }

  async function beforeCall(request) {
    const held = session && `Bearer ${session.access}`;
    if (!held || request.headers?.Authorization !== held) return request;
    if (session.expiresAt - Date.now() < HURRY_MS) await refresh();
    if (session) request.headers.Authorization = `Bearer ${session.access}`;
    else delete request.headers.Authorization;
    return request;
  }

  // Whoever registers, signs in or out by an operation of the document does so for the page.
  function afterCall(response) {
    if (response.ok && /\/auth\/(register|login|refresh)$/.test(response.url)) keep(response.obj ?? JSON.parse(response.text));
    else if (response.status === 204 && response.url.endsWith("/auth/logout")) keep(null);
    return response;
  }

  part("sign-in").addEventListener("submit", signIn);
  part("sign-out").addEventListener("click", signOut);
  ui = SwaggerUIBundle({
    url: new URL("openapi.json", document.baseURI).href,
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    // By default it would have the document judged by a service on the net.
    validatorUrl: null,
    requestInterceptor: (request) => (request.loadSpec ? request : beforeCall(request)),
    responseInterceptor: afterCall,
    onComplete: () => show(),
  });
})();
