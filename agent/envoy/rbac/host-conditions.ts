import { formatIpAddress, readIpAddress } from '../../../policy/match/ip.ts';
import { all, any, type Condition, header, NEVER, not, type TextCondition } from './condition.ts';
import type { Matched } from './path-conditions.ts';

const AUTHORITY = ':authority';

/** A host of a rule. Requests name theirs in any case, with a port or without, with a dot at the end or without. */
export function hostCondition(pattern: string): Matched {
  if (pattern === '*') return { matches: all(header(AUTHORITY), not(authority({ exact: '' }))) };
  if (pattern.startsWith('[')) return addressHost(pattern);
  if (!pattern.startsWith('*')) return { matches: nameHost(pattern) };
  const ending = pattern.slice(1);
  return { matches: any(...endings(ending).map((suffix) => authority({ suffix })), ...beforePort(ending)) };
}

function nameHost(name: string): Condition {
  const exact = endings(name).map((each) => authority({ exact: each }));
  return any(...exact, ...endings(name).map((each) => authority({ prefix: `${each}:` })));
}

const endings = (name: string): readonly string[] => [name, `${name}.`];

// No host that is judged holds a colon but before its port, unless it is an address in brackets, which no name is part of.
const beforePort = (ending: string): readonly Condition[] => endings(ending).map((each) => authority({ contains: `${each}:` }));

/** An address has one shortest form; whether another text is the same address cannot be told. */
function addressHost(pattern: string): Matched {
  const address = readIpAddress(pattern.slice(1, -1));
  const isShortest = address !== undefined && `[${formatIpAddress(address)}]` === pattern;
  const matches = isShortest ? any(authority({ exact: pattern }), authority({ prefix: `${pattern}:` })) : NEVER;
  return { matches, unknown: all(authority({ prefix: '[' }), not(matches)) };
}

function authority(text: Exclude<TextCondition, { readonly regex: string }>): Condition {
  return header(AUTHORITY, { ...text, ignoreCase: true });
}
