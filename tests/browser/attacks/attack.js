// The attack: all means that were chosen, and what came of each.

async function run({ group, means, url }) {
  try {
    return { found: (await MEANS[group][means](url)) ?? null };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

const complaints = [];
addEventListener("error", ({ message }) => complaints.push(message));

// Does all of it, some at a time; returns what was found by each attack's number, and what else
// the page has noticed.
async function attack(given, attacks, atOnce) {
  settings = given;
  performance.setResourceTimingBufferSize(10000);
  const found = {};
  const queue = [...attacks];
  const hands = Array.from({ length: atOnce }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) found[next.number] = await run(next);
  });
  await Promise.all(hands);
  const timings = performance.getEntriesByType("resource").map((entry) => entry.toJSON());
  performance.clearResourceTimings();
  return { found, noticed: { complaints, timings } };
}

function listed() {
  return Object.entries(MEANS).map(([group, means]) => [group, Object.keys(means)]);
}
