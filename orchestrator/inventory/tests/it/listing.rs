//! Lists without an inventory: a table for one question.

use xenith_orchestrator_inventory::filter::{Filter, parse};
use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO, filtered};
use xenith_orchestrator_inventory::{
    ColumnKind, ColumnSpec, PageRequest, QueryError, Schema, Scope, Searched, Unit,
};

#[derive(Debug, Clone)]
struct Shelf {
    id: u8,
    name: &'static str,
    books: Option<u64>,
    labels: Vec<String>,
    open: bool,
}

static SHELF: Schema = Schema {
    noun: "shelf",
    default_sort: "name",
    columns: &[
        ColumnSpec::new("name", ColumnKind::Text, Searched::Yes, "a part of the name"),
        ColumnSpec::new("since", ColumnKind::Number(Unit::Time), Searched::No, "since when"),
        ColumnSpec::new("age", ColumnKind::Age("since"), Searched::No, "for how long"),
        ColumnSpec::new("books", ColumnKind::Number(Unit::Count), Searched::No, "how many"),
        ColumnSpec::new("label", ColumnKind::Labels, Searched::Yes, "a label"),
        ColumnSpec::new("open", ColumnKind::Choice(YES_NO), Searched::No, "whether it is open"),
    ],
};

impl Listing for Shelf {
    const SCHEMA: &'static Schema = &SHELF;

    fn id(&self) -> [u8; 16] {
        u128::from(self.id).to_be_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        cells.text(self.name).time(None).number(self.books).texts(&self.labels).yes_no(self.open.into());
    }
}

fn shelf(id: u8, name: &'static str, books: Option<u64>, label: &str) -> Shelf {
    Shelf { id, name, books, labels: vec![label.to_owned()], open: id.is_multiple_of(2) }
}

fn shelves() -> Vec<Shelf> {
    vec![
        shelf(3, "poetry", Some(7), "second floor"),
        shelf(1, "atlases", Some(30), "ground"),
        shelf(4, "Novels", None, "ground"),
        shelf(2, "maps", Some(7), "second floor"),
    ]
}

fn request(filter: &str, sort: &str, limit: usize) -> PageRequest {
    let mut request = PageRequest::first(parse(&SHELF, filter).unwrap(), Scope::everything(), limit);
    request.sort = sort.to_owned();
    request
}

#[test]
fn the_language_and_the_orders_are_those_of_every_list() {
    for (filter, sort, wanted) in [
        ("", "", "atlases maps Novels poetry"),
        ("", "-", "poetry Novels maps atlases"),
        ("", "books", "maps poetry atlases Novels"),
        ("books:>7", "", "atlases"),
        ("books:none", "", "Novels"),
        ("label:ground -open:no", "", "Novels"),
        ("NOV", "", "Novels"),
        ("\"second floor\"", "-name", "poetry maps"),
        ("name:/^[am]/", "", "atlases maps"),
        ("id:00000000-0000-0000-0000-000000000003", "", "poetry"),
        ("age:>1d", "", ""),
    ] {
        let page = filtered(shelves(), &request(filter, sort, 10)).unwrap();
        let names: Vec<_> = page.rows.iter().map(|shelf| shelf.name).collect();
        assert_eq!(names.join(" "), wanted, "{filter:?} by {sort:?}");
        assert_eq!((page.total, page.next), (names.len() as u64, None), "{filter:?}");
    }
}

#[test]
fn a_cursor_finds_its_place_among_rows_that_came_and_went() {
    let by = |rows: Vec<Shelf>, sort: &str, cursor: Option<String>| {
        let page = filtered(rows, &PageRequest { cursor, ..request("", sort, 2) }).unwrap();
        (page.rows.iter().map(|shelf| shelf.name).collect::<Vec<_>>().join(" "), page.next)
    };
    let (first, next) = by(shelves(), "books", None);
    assert_eq!(first, "maps poetry");
    // In any order, with one more before the place and one more behind it, and without the last one shown.
    let mut later: Vec<Shelf> = shelves().into_iter().rev().filter(|shelf| shelf.name != "poetry").collect();
    later.push(shelf(9, "comics", Some(1), "ground"));
    later.push(shelf(8, "letters", Some(12), "ground"));
    let (second, next) = by(later.clone(), "books", next);
    // What has the key of the one that is gone is told again rather than left out.
    assert_eq!(second, "maps letters");
    let (third, next) = by(later.clone(), "books", next);
    assert_eq!((third.as_str(), next), ("atlases Novels", None));

    let (_, next) = by(later.clone(), "name", None);
    let wrong = filtered(later, &PageRequest { cursor: next, ..request("", "books", 2) }).unwrap_err();
    assert!(matches!(wrong, QueryError::OtherSort { .. }), "{wrong}");
}

#[test]
fn a_row_that_is_there_twice_is_shown_once() {
    let twice = shelves().into_iter().chain(shelves()).collect();
    let page = filtered::<Shelf>(twice, &PageRequest::first(Filter::All, Scope::everything(), 10)).unwrap();
    assert_eq!((page.rows.len(), page.total), (4, 4));
}
