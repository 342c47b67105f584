import { spawn } from 'node:child_process';
import { formatBundleDocument } from '../../../spiffe/bundle.ts';
import type { Bundle } from '../../../spiffe/bundle.ts';
import { goProgram } from '../../support/toolchain.ts';

/** A question to go-spiffe or crypto/x509; see `test/go/cmd/svid`. */
export type Question =
  | { readonly op: 'id' | 'trustDomain'; readonly text: string }
  | { readonly op: 'certificate' | 'csr'; readonly der: Uint8Array }
  | { readonly op: 'x509'; readonly chain: readonly Uint8Array[]; readonly bundle: Bundle; readonly nowMs: number }
  | { readonly op: 'jwt'; readonly token: string; readonly audience: readonly string[]; readonly bundle: Bundle }
  | { readonly op: 'wit'; readonly token: string; readonly bundle: Bundle }
  | { readonly op: 'bundle'; readonly document: string };

/** What Go makes of it. */
export interface Answer {
  readonly ok: boolean;
  readonly error?: string;
  readonly id?: string;
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly subject?: string;
  readonly keys?: readonly string[];
  readonly count?: number;
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** Asks Go all questions at once; the answers come in their order. */
export async function askGo(questions: readonly Question[]): Promise<readonly Answer[]> {
  const child = spawn(await goProgram('svid'), { stdio: ['pipe', 'pipe', 'inherit'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject).on('close', resolve);
  child.stdin.end(questions.map((question) => `${lineOf(question)}\n`).join(''));
  const code = await promise;
  const lines = Buffer.concat(output).toString().trimEnd().split('\n');
  if (code !== 0 || lines.length !== questions.length) throw new Error(`svid ended with ${code} after ${lines.length} answers`);
  // The cast is sound: the program writes this shape, and the tests look at each field.
  return lines.map((line) => JSON.parse(line) as Answer);
}

function lineOf(question: Question): string {
  // A document is passed on as it stands: its numbers may be beyond what JavaScript holds.
  if (question.op === 'bundle') return `{"op":"bundle","trustDomain":"example.org","bundle":${question.document}}`;
  return JSON.stringify(wire(question));
}

function wire(question: Exclude<Question, { op: 'bundle' }>): Record<string, unknown> {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  switch (question.op) {
    case 'certificate':
    case 'csr':
      return { op: question.op, der: base64(question.der) };
    case 'x509':
      return { ...question, chain: question.chain.map(base64), ...wireBundle(question.bundle) };
    case 'jwt':
    case 'wit':
      return { ...question, ...wireBundle(question.bundle) };
    default:
      return question;
  }
}

function wireBundle(bundle: Bundle): Record<string, unknown> {
  const document: unknown = JSON.parse(formatBundleDocument(bundle));
  return { trustDomain: bundle.trustDomain.name, bundle: document };
}
