import { $, ask, reason, told } from "./page.js";

if (told.signed_in) location.replace("/");
$("signin").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("problem").textContent = "";
  try {
    await ask("POST", "/v1/session", { key: $("key").value.trim() });
    location.assign("/");
  } catch (error) {
    $("problem").textContent = reason(error.code, error.message);
    $("key").select();
  }
});
