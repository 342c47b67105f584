import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
const GUIDES = globSync(['*.md', 'docs/**/*.md', '{client,manifests}/**/*.md'], { cwd: ROOT });

/** What is said, without the blocks of code. */
const proseOf = (file: string): string => readFileSync(file, 'utf8').replaceAll(/^```[^]*?^```$/gm, '');

/** The names by which links reach the headings of a guide. */
function anchorsOf(file: string): ReadonlySet<string> {
  const headings = [...proseOf(file).matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => text.toLowerCase());
  return new Set(headings.map((text) => text.replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')));
}

function isThere(guide: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? join(ROOT, guide) : join(ROOT, dirname(guide), path);
  if (!existsSync(target)) return false;
  return anchor === undefined || !target.endsWith('.md') || anchorsOf(target).has(anchor);
}

describe('links of guides', () => {
  test.each(GUIDES)('%s names files and sections that exist', (guide) => {
    const links = [...proseOf(join(ROOT, guide)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
    const own = links.filter((link) => !/^(?:https?|mailto):/.test(link));
    expect(own.filter((link) => !isThere(guide, link))).toEqual([]);
  });

  test('are looked for where there are some, and one that leads nowhere is found', () => {
    expect(GUIDES).toContain('docs/authorization.md');
    expect(isThere('docs/users.md', 'configuration.md#token-exchange')).toBe(true);
    expect(isThere('docs/users.md', 'configuration.md#no-such-section')).toBe(false);
    expect(isThere('docs/users.md', 'no-such-guide.md')).toBe(false);
  });

  test('each guide is named by the README', () => {
    const readme = proseOf(join(ROOT, 'README.md'));
    const guides = globSync('docs/*.md', { cwd: ROOT });
    expect(guides.filter((guide) => !readme.includes(`(${guide})`))).toEqual([]);
  });
});
