//! `larder completion` and `larder man`: what the grammar itself can tell.

use std::{fs, io, path::Path};

use clap_complete::Shell;
use types::{ErrorCode, Fault};

use crate::{failure::Failure, screen::Screen};

/// Prints the completion script of a shell.
pub(crate) fn script(shell: Shell, mut program: clap::Command, screen: &mut Screen) -> Result<(), Failure> {
    let name = program.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut text);
    screen.line(String::from_utf8_lossy(&text).trim_end())
}

/// Prints the manual page of the program, or writes a page for each command into a folder.
pub(crate) fn manual(
    folder: Option<&Path>,
    mut program: clap::Command,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let Some(folder) = folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(program).render(&mut text)?;
        return screen.line(String::from_utf8_lossy(&text).trim_end());
    };
    program.build();
    let written = fs::create_dir_all(folder).and_then(|()| write_pages(folder, &program, ""));
    let count = written.map_err(|error| {
        Fault::new(ErrorCode::DiskError, format!("{} can't be written: {error}", folder.display()))
    })?;
    screen.note(format!("{count} pages in {}", folder.display()));
    Ok(())
}

/// Writes the page of a command and those of its subcommands, and returns how many.
fn write_pages(folder: &Path, command: &clap::Command, before: &str) -> io::Result<usize> {
    let name = format!("{before}{}", command.get_name());
    let mut text = Vec::new();
    // The page's own title: clap_mangen takes it from the command's name.
    clap_mangen::Man::new(command.clone().name(name.clone())).render(&mut text)?;
    fs::write(folder.join(format!("{name}.1")), text)?;
    let mut count = 1;
    for subcommand in command.get_subcommands().filter(|one| one.get_name() != "help" && !one.is_hide_set()) {
        count += write_pages(folder, subcommand, &format!("{name}-"))?;
    }
    Ok(count)
}
