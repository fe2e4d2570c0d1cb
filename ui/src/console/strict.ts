// xterm.js writes its colours into <style> elements and style attributes, which our Content-Security-Policy forbids. It
// is given a document that makes neither: what it takes for a <style> keeps its text in a constructed style sheet, and
// a style attribute becomes properties. Both are allowed, since no text of a page becomes a style by them.

const make = (name: string): HTMLElement => Document.prototype.createElement.call(document, name) as HTMLElement;

function sheetElement(): HTMLElement {
  const element = make('span');
  element.hidden = true;
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, 'textContent', {
    get: () => '',
    set: (text: string) => sheet.replaceSync(text),
  });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    remove();
  };
  return element;
}

function strictElement(name: string): HTMLElement {
  if (name === 'style') return sheetElement();
  const element = make(name);
  const set = element.setAttribute.bind(element);
  element.setAttribute = (attribute, value) => {
    if (attribute === 'style') element.style.cssText = value;
    else set(attribute, value);
  };
  return element;
}

export function strictDocument(): Document {
  return new Proxy(document, {
    get(target, key) {
      if (key === 'createElement') return strictElement;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
    },
  });
}

/** For what asks the page's own document while it runs. */
export function strictly(run: () => void) {
  document.createElement = strictElement as typeof document.createElement;
  try {
    run();
  } finally {
    // The prototype's again.
    Reflect.deleteProperty(document, 'createElement');
  }
}
