// What the library said when the page was built: its forwards and rules, their parameters, and the levels it computes.

export const CATALOGUE = JSON.parse(document.getElementById("catalogue").textContent);
