// Gradient descent in JavaScript, with nothing but fetch: node examples/fetch.mjs, or in a browser.
const url = globalThis.process?.env.PULLBACK_BASE_URL ?? "http://127.0.0.1:8000";

async function ask(operation, body) {
  const response = await fetch(`${url}/v1/${operation}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail} ${answer.hint ?? ""}`);
  return answer;
}

const graph = "loss = ((w * x + b - y) ** 2).mean()";
const data = { x: [0, 1, 2, 3], y: [1, 3, 5, 7] };
let [w, b] = [0, 0];
for (let step = 0; step < 200; step++) {
  const { gradients } = await ask("backward", { graph, inputs: { ...data, w, b }, wrt: ["w", "b"] });
  w -= 0.1 * gradients.w.data;
  b -= 0.1 * gradients.b.data;
}
console.log(`y = ${w.toFixed(2)} x + ${b.toFixed(2)}`);

try {
  await ask("forward", { graph: "y = rleu(x)", inputs: { x: [1] } });
} catch (problem) {
  console.log(problem.message);
}
