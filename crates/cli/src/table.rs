//! Tables for people: a dim heading, columns two blanks apart, no lines.

use owo_colors::OwoColorize as _;

use crate::{failure::Failure, screen::Screen};

/// Between two columns.
const GAP: &str = "  ";

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a heading.
#[derive(Debug)]
pub struct Table {
    heading: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table.
    pub fn new(heading: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { heading: heading.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When the row has not one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.heading.len(), "a row has one cell for each column");
        self.rows.push(cells);
    }

    /// Writes the table, or `empty` when it has no rows.
    ///
    /// # Errors
    /// [`Failure`] when the output can't be written.
    pub fn write(&self, screen: &mut Screen, empty: &str) -> Result<(), Failure> {
        if self.rows.is_empty() {
            screen.note(empty);
            return Ok(());
        }
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.heading[column].0.len()]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<String> = self.heading.iter().map(|(name, _)| (*name).to_owned()).collect();
        screen.line(self.lay_out(&heading, &widths).dimmed().to_string())?;
        for row in &self.rows {
            screen.line(self.lay_out(row, &widths))?;
        }
        Ok(())
    }

    fn lay_out(&self, cells: &[String], widths: &[usize]) -> String {
        let laid: Vec<String> = cells
            .iter()
            .zip(widths)
            .zip(&self.heading)
            .map(|((cell, width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        laid.join(GAP).trim_end().to_owned()
    }
}
