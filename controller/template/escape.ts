// html, js and urlquery.
import { isPrintable } from './quote.ts';

const HTML: Readonly<Record<string, string>> = {
  '\0': '\uFFFD',
  '"': '&#34;',
  "'": '&#39;',
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
};

const JS: Readonly<Record<string, string>> = {
  '\\': String.raw`\\`,
  "'": String.raw`\'`,
  '"': String.raw`\"`,
};

/** Text for HTML. */
export function htmlEscaped(text: string): string {
  return text.replaceAll(/[\0"'&<>]/g, (character) => HTML[character] ?? character);
}

/** Text for a JavaScript string. */
export function jsEscaped(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is escaped.
  return text.replaceAll(/[\\'"<>&=\u0000-\u001F]|[^\u0000-\u007F]/gu, (character) => {
    if (character > '\u007F' && isPrintable(character)) return character;
    return JS[character] ?? String.raw`\u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
  });
}

/** Text for a URL's query. */
export function queryEscaped(text: string): string {
  return encodeURIComponent(text)
    .replaceAll('%20', '+')
    .replaceAll(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
