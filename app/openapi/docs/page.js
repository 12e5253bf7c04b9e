// The page at /docs: Swagger UI with a sign-in form, which sets the access token and refreshes it.
"use strict";

(() => {
  const STORE = "gatepost.docs";
  const REFRESH_MARGIN_MS = 30_000;
  const API = new URL("api/v1/", document.baseURI).href;
  const element = (id) => document.getElementById(id);

  // sessionStorage belongs to this tab: a reload keeps the session, and closing the tab removes it.
  let session = JSON.parse(sessionStorage.getItem(STORE) ?? "null");
  let refreshing = null;
  let ui = null;
  // Whether Swagger UI has our token. Its logout fails without one.
  let hasToken = false;

  function setSession(answer) {
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

  function show(message = "") {
    element("sign-in").hidden = element("hint").hidden = Boolean(session);
    element("signed-in").hidden = !session;
    element("user-name").textContent = session?.name ?? "";
    element("message").textContent = message;
    if (session) ui?.preauthorizeApiKey("accessToken", session.access);
    else if (hasToken) ui?.authActions.logout(["accessToken"]);
    hasToken = Boolean(session && ui);
  }

  async function call(path, token, body) {
    const headers = { "Content-Type": "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(API + path, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
    const content = answer.status === 204 ? null : await answer.json();
    if (!answer.ok) throw new RequestFailed(answer.status, content);
    return content;
  }

  class RequestFailed extends Error {
    constructor(status, problem) {
      super(Object.values(problem.errors ?? {}).flat().join(" ") || problem.detail);
      this.status = status;
    }
  }

  async function signIn(event) {
    event.preventDefault();
    try {
      setSession(await call("auth/login", null, { email: element("email").value, password: element("password").value }));
      element("password").value = "";
    } catch (error) {
      show(error.message);
    }
  }

  async function signOut() {
    const { refresh } = session;
    setSession(null);
    // The user is signed out here even if the session had already ended.
    await call("auth/logout", refresh).catch(() => {});
  }

  // Concurrent calls share one refresh.
  function refresh() {
    refreshing ??= call("auth/refresh", session.refresh)
      .then(setSession)
      .catch((error) => {
        if (error.status !== 401) throw error;
        setSession(null);
        show("Your session has ended. Sign in again.");
      })
      .finally(() => (refreshing = null));
    return refreshing;
  }

  async function beforeCall(request) {
    const token = session && `Bearer ${session.access}`;
    if (!token || request.headers?.Authorization !== token) return request;
    if (session.expiresAt - Date.now() < REFRESH_MARGIN_MS) await refresh();
    if (session) request.headers.Authorization = `Bearer ${session.access}`;
    else delete request.headers.Authorization;
    return request;
  }

  // Registering, signing in and signing out with an operation in Swagger UI also changes the session of the page.
  function afterCall(response) {
    if (response.ok && /\/auth\/(register|login|refresh)$/.test(response.url)) setSession(response.obj ?? JSON.parse(response.text));
    else if (response.status === 204 && response.url.endsWith("/auth/logout")) setSession(null);
    return response;
  }

  element("sign-in").addEventListener("submit", signIn);
  element("sign-out").addEventListener("click", signOut);
  ui = SwaggerUIBundle({
    url: new URL("openapi.json", document.baseURI).href,
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    // The default is a validation service on another origin.
    validatorUrl: null,
    requestInterceptor: (request) => (request.loadSpec ? request : beforeCall(request)),
    responseInterceptor: afterCall,
    onComplete: () => show(),
  });
})();
