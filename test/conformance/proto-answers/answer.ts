import { probes } from './probes.ts';
import type { Probe } from './probe.ts';
import { createWorld } from './world.ts';
import type { ServerUnderTest, World } from './world.ts';
import type { CallResult, JsonMessage } from '../../support/spire-client.ts';

/** What a server answered to a probe, as far as two servers can be compared. */
export interface Answer {
  readonly code: string;
  /** Status details. */
  readonly details?: readonly JsonMessage[];
  /** Codes of the items of a batch. */
  readonly items?: readonly number[];
  /** Paths of the fields that the responses have, list items and map entries together. */
  readonly fields?: readonly string[];
}

/** Answers by `<method>: <probe>`. */
export type Answers = Readonly<Record<string, Answer>>;

/**
 * Makes every probe in turn.
 *
 * @param onText Gets the error texts of each answer: they are for people and no part of the contract.
 */
export async function answersOf(
  server: ServerUnderTest,
  onText: (probe: string, texts: readonly string[]) => void = () => {},
): Promise<Answers> {
  await using world = await createWorld(server);
  const answers: Record<string, Answer> = {};
  for (const probe of probes(world)) {
    const name = `${probe.method}: ${probe.name}`;
    const result = await resultOf(world, probe);
    answers[name] = answerOf(result);
    onText(name, [result.message, ...result.messages.flatMap((each) => itemsOf(each).map(({ message }) => message ?? ''))]);
  }
  return answers;
}

async function resultOf(world: World, probe: Probe): Promise<CallResult> {
  const call = world.callers[probe.as].open(`spire.api.server.${probe.method}`, { timeoutMs: 10_000 });
  const [first = {}, ...rest] = probe.requests;
  call.send(first);
  for (const message of rest) {
    await call.next(); // an answer to the message before
    call.send(message);
  }
  call.end();
  return call.result;
}

function answerOf({ code, details, messages }: CallResult): Answer {
  const fields = new Set(messages.flatMap((each) => paths(each)));
  fields.delete('uptime'); // is 0, and so left out, in a server's first second
  const items = messages.flatMap((each) => itemsOf(each).map((item) => item.code ?? 0));
  return {
    code,
    ...(details.length === 0 ? {} : { details }),
    ...(items.length === 0 ? {} : { items }),
    ...(fields.size === 0 ? {} : { fields: [...fields].sort() }),
  };
}

function paths(value: unknown, prefix = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => paths(each, `${prefix}[]`));
  if (typeof value !== 'object' || value === null) return [prefix];
  return Object.entries(value).flatMap(([name, each]) => paths(each, prefix === '' ? name : `${prefix}.${name}`));
}

function itemsOf({ results }: JsonMessage): { code?: number; message?: string }[] {
  if (!Array.isArray(results)) return [];
  // Every batch response has results with a status; its code is left out when it is 0.
  return (results as { status?: { code?: number; message?: string } }[]).map(({ status = {} }) => status);
}
