"use strict";

// Relative, so that the page's secret path and port are those of its address, through a tunnel too.
const explorer = new URL("explorer", window.location.href);
explorer.protocol = window.location.protocol === "https:" ? "wss:" : "ws:";
document.getElementById("terminal").dataset.sessionWebsocketUrl = explorer.href;

document.getElementById("again").addEventListener("click", () => window.location.reload());
